"""Post-processing again, on recorded outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from npud.detections import Detections
from npud.errors import NpudError, RecordError
from npud.messages import DetectionsMessage
from npud.wire import encode
from postprocess.decoder import Decoder
from runtime.recording.reader import Reader, Recorded


@dataclass(frozen=True, eq=False)
class Replayed:
    """A frame as it was recorded, and the message that its outputs give now."""

    recorded: Recorded
    message: DetectionsMessage

    def difference(self) -> str:
        """Where the message's bytes differ from the recorded ones; "" where they do not."""
        if encode(self.message)[1] == self.recorded.payload:
            return ""
        then, now = self.recorded.published.detections, self.message.detections
        where = f"camera {self.message.camera}, frame {self.message.frame}"
        if len(then) != len(now):
            return f"{where}: expected {len(then)} detections, got {len(now)}"
        for field in fields(Detections):
            a, b = getattr(then, field.name), getattr(now, field.name)
            differs = a.reshape(len(then), -1) != b.reshape(len(then), -1)
            if differs.any():
                at = int(np.flatnonzero(differs.any(1))[0])
                return f"{where}, detection {at}: expected {field.name} {a[at]}, got {b[at]}"
        return f"{where}: the same detections in other bytes"


def replay(reader: Reader, thresholds: dict[str, Any] | None = None) -> Iterator[Replayed]:
    """Decode every frame of a recording again, with some options replaced.

    Raises RecordError for a damaged recording, ConfigError for a threshold that is none.
    """
    decoders: dict[str, Decoder] = {}
    for recorded in reader:
        setup = recorded.setup
        if setup.id not in decoders:
            decoders[setup.id] = setup.decoder(thresholds)
        tensors = recorded.tensors
        try:
            found = decoders[setup.id](tensors.arrays(setup.specs))
        except (NpudError, ValueError) as error:
            raise RecordError(f"{reader.path}: frame {tensors.frame}: {error}") from None
        found = tensors.fit.letterbox().to_source(found)
        message = replace(recorded.published, detections=found, labels=setup.labels)
        yield Replayed(recorded, message)
