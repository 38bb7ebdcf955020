"""Setup: what it takes to decode a model's outputs again, without the model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec

import npud
from npud.errors import ConfigError, NpudError, RecordError
from npud.wire import MAX_LIST
from postprocess.decoder import Decoder, make_decoder
from postprocess.options import Options
from postprocess.plan import HeadPlan
from postprocess.tensor import TensorSpec
from runtime.models.tensor_json import TensorJson

MAX_TENSORS = 64


class Setup(msgspec.Struct, forbid_unknown_fields=True, frozen=True, dict=True):
    """A model's tensors, how they are read, and with which options.

    `model` is "<stem>@<digest>" and `manifest` the digest of its file, as published;
    `manifest_json` is the manifest as it was in force, with what the config overrode.
    """

    model: str
    labels: tuple[str, ...]
    inputs: tuple[TensorJson, ...]
    outputs: tuple[TensorJson, ...]
    plan: HeadPlan
    options: Options
    manifest: str = ""
    manifest_json: str = "{}"
    npud: str = npud.__version__

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes | str) -> Setup:
        """Read and check what encode() wrote; raises RecordError."""
        try:
            setup = msgspec.json.decode(data, type=cls)
            setup.decoder()
        except (msgspec.MsgspecError, NpudError, ValueError) as error:
            raise RecordError(f"its setup cannot be used: {error}") from None
        return setup

    @cached_property
    def id(self) -> str:
        """A digest of all of it: the messages of a recording name their setup by it."""
        return hashlib.sha256(self.encode()).hexdigest()[:12]

    @cached_property
    def moved_bytes(self) -> int:
        """Bytes of its inputs and outputs, which a frame moves between CPU and NPU."""
        tensors = (tensor.spec() for tensor in (*self.inputs, *self.outputs))
        return sum(math.prod(one.shape) * one.dtype.itemsize for one in tensors)

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The outputs, C-contiguous."""
        return tuple(tensor.spec() for tensor in self.outputs)

    def decoder(self, thresholds: dict[str, Any] | None = None) -> Decoder:
        """A decoder for the recorded outputs, with some options replaced.

        Raises ConfigError for a threshold that is none, RecordError for a setup that is none.
        """
        options = replace(self.options, **(thresholds or {}))
        counts = len(self.outputs), len(self.labels), options.max_detections
        if any(n > limit for n, limit in zip(counts, (MAX_TENSORS, MAX_LIST, MAX_LIST))):
            raise RecordError("its setup has more outputs, labels or detections than any model")
        try:
            return make_decoder(self.plan, self.specs, options)
        except ConfigError:
            raise
        except Exception as error:  # a damaged plan: indices, shapes and numbers of all kinds
            raise RecordError(f"its head plan does not fit its outputs: {error}") from None


def tensors_json(specs: Sequence[TensorSpec]) -> tuple[TensorJson, ...]:
    """Specs in plain types."""
    return tuple(map(TensorJson.of, specs))
