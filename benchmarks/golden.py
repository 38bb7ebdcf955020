"""Verdicts of the golden sample on models quantized well and badly, picture by picture.

    python -m benchmarks.golden FLOAT.onnx IMAGES [--calibrate 20] [--golden 30]

FLOAT.onnx is a float model with raw heads (logits).  onnxruntime quantizes it to int8 (QDQ, per
channel), once as it should be and then with the mistakes that people make; the first pictures of
IMAGES calibrate, the next ones are golden samples, each by itself.  Printed: how many of them say
ok, degraded and dead, and the means of what was measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from npud.errors import ModelError
from runtime.config import Backend, Model
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.golden.judge import judge
from runtime.golden.reference import Reference, make
from runtime.golden.verdict import Verdict
from runtime.models.manifest import Golden, Input
from runtime.preprocess import Preprocessor
from runtime.sources.images import list_images, read_image

OPSET = 17
LIMITS = Golden(image="-", reference="-")
Change = Callable[[np.ndarray], np.ndarray]
NOISE = np.random.default_rng(1)
CALIBRATIONS: dict[str, tuple[int, Change]] = {  # pictures (0: all), what is done to the tensors
    "healthy": (0, lambda x: x),
    "one picture": (1, lambda x: x),
    "colours swapped": (0, lambda x: x[:, ::-1].copy()),
    "noise": (0, lambda x: NOISE.random(x.shape, np.float32)),
    "divided by 255 twice": (0, lambda x: x / np.float32(255)),
    "not divided": (0, lambda x: x * np.float32(255)),
    "all zero": (0, lambda x: x * np.float32(0)),
}
AT_RUN_TIME = {
    "fed: colours swapped": Input(color="bgr"),
    "fed: not divided": Input(std=(1.0, 1.0, 1.0)),
    "fed: divided twice": Input(std=(65025.0, 65025.0, 65025.0)),
    "fed: stretched": Input(letterbox="stretch"),
}


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Calibration tensors for onnxruntime."""

    def __init__(self, name: str, tensors: list[np.ndarray]) -> None:
        self._name, self._rest = name, iter(tensors)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one, None at the end."""
        tensor = next(self._rest, None)
        return None if tensor is None else {self._name: tensor}


def main() -> None:
    """Quantize, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--calibrate", type=int, default=20)
    parser.add_argument("--golden", type=int, default=30)
    args = parser.parse_args()
    pictures = list_images(str(args.images))
    chosen = pictures[: args.calibrate]
    samples = list(references(args.model, pictures[args.calibrate :], args.golden))
    counts = [sample.objects for sample in samples]
    print(f"{args.model.name}: {len(samples)} samples of {min(counts)} to {max(counts)} objects")
    head = (
        "conversion",
        "ok",
        "degraded",
        "dead",
        "found",
        "extra",
        "Δ logit",
        "Δ score",
        "cosine",
    )
    print("{:<34}{:>5}{:>10}{:>6}{:>8}{:>7}{:>9}{:>9}{:>9}".format(*head))
    for name, one in models(args.model, chosen):
        print_row(name, [judge(one, sample, LIMITS) for sample in samples])
        one.close()


def models(path: Path, chosen: list[Path]) -> Iterator[tuple[str, Detector]]:
    """The float model, what becomes of it when it is quantized, and when it is fed wrongly."""
    yield "float", opened(path)
    one = opened(path)
    feed = Preprocessor(one.input)
    tensors = [feed(Frame(read_image(p)))[0].copy() for p in chosen]
    name = one.backend.inputs[0].name
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        target.with_suffix(".toml").write_text(manifest(path))
        current = Path(folder) / "float.onnx"  # scales per channel need opset 13
        onnx.save(version_converter.convert_version(onnx.load(str(path)), OPSET), str(current))
        for title, (count, change) in CALIBRATIONS.items():
            quantize_static(
                str(current),
                str(target),
                Pictures(name, [change(t) for t in tensors[: count or None]]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
            yield f"int8, {title}", opened(target)
            if title == "healthy":
                for wrong, changed in AT_RUN_TIME.items():
                    yield f"int8, {wrong}", opened(target, input=changed)


def manifest(path: Path) -> str:
    """How a one-to-one head is read, and what the others need."""
    one_to_one = 'nms = "none"\nmulti_label = true\n' if "yolo26" in path.stem else ""
    return one_to_one + 'activation = "logits"\n'


def opened(path: Path, **model: Any) -> Detector:
    """A detector on the CPU."""
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        beside.write_text(manifest(path))
    settings = Model(path=str(path), **model)
    return Detector(read_model(settings), settings, Backend())


def references(path: Path, pictures: list[Path], most: int) -> Iterator[Reference]:
    """Golden samples of pictures with at least 5 objects in them."""
    one, made = opened(path), 0
    for picture in pictures:
        try:
            sample = make(one, read_image(picture))
        except ModelError:
            continue
        if sample.objects >= 5 and made < most:
            made += 1
            yield sample
    one.close()


def print_row(name: str, verdicts: list[Verdict]) -> None:
    """Counts of the levels, then means over the samples."""
    levels = Counter(verdict.level for verdict in verdicts)
    figures = [verdict.figures for verdict in verdicts]
    known = [f.least_cosine for f in figures if f.least_cosine is not None]
    shifts = [f.score_shift for f in figures if f.matched]
    print(
        f"{name:<34}{levels['ok']:>5}{levels['degraded']:>10}{levels['dead']:>6}"
        f"{sum(f.matched for f in figures) / sum(f.reference for f in figures):>8.0%}"
        f"{sum(f.extra for f in figures) / sum(f.reference for f in figures):>7.0%}"
        f"{np.mean([f.peak_shift for f in figures]):>+9.2f}"
        f"{f'{np.mean(shifts):+.3f}' if shifts else '–':>9}{np.mean(known):>9.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
