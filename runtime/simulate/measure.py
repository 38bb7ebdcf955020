"""Int8 grids of a model's outputs, from the range of their values over pictures.

python -m runtime.simulate.measure MODEL.onnx IMAGES > grids.toml
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from npud.errors import ConfigError, NpudError
from postprocess.tensor import Quantization
from runtime import config
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.simulate.grids import HIGH, LOW
from runtime.sources.images import list_images, read_image


def grids_of(detector: Detector, images: Sequence[Path]) -> dict[str, Quantization]:
    """One grid per output that holds all values over the pictures: calibration by min and max."""
    ranges: dict[str, tuple[float, float]] = {}
    for path in images:
        outputs = detector.observe(Frame(read_image(path), name=str(path))).outputs
        for spec, tensor in zip(detector.backend.outputs, outputs):
            low, high = ranges.get(spec.name, (0.0, 0.0))
            ranges[spec.name] = min(low, float(tensor.min())), max(high, float(tensor.max()))
    return {name: measured(*span) for name, span in ranges.items()}


def measured(low: float, high: float) -> Quantization:
    """The asymmetric int8 grid of values from low to high, 0 included."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (HIGH - LOW) or 1.0
    return Quantization.per_tensor(scale, round(LOW - low / scale))


def as_toml(grids: Mapping[str, Quantization]) -> str:
    """One [NAME] per grid, as [backend.simulate] reads it."""
    return "".join(
        f"[{json.dumps(name)}]\nscale = {float(grid.scale):.8g}\n"
        f"zero_point = {int(grid.zero_point)}\n"
        for name, grid in grids.items()
    )


def main(arguments: Sequence[str]) -> None:
    """Print the grids of a model's outputs, as TOML."""
    if len(arguments) != 2:
        raise ConfigError("usage: python -m runtime.simulate.measure MODEL.onnx IMAGES")
    settings = config.Model(path=arguments[0])
    detector = Detector(read_model(settings), settings, config.Backend(name="onnx"))
    try:
        sys.stdout.write(as_toml(grids_of(detector, list_images(arguments[1]))))
    finally:
        detector.close()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except NpudError as error:
        sys.exit(f"npud: error: {error}")
