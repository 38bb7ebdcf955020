"""Models for the emulated RK3588, with the tensors that its stand-in library serves for them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from npud.detections import Detections
from postprocess.tensor import Quantization, TensorSpec
from runtime import bundled, models
from runtime.backends.base import BackendOptions
from runtime.config import Backend as Chip
from runtime.config import Model
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.preprocess import InputSpec, Preprocessor
from runtime.scenes import Street
from tests.board import stub_tensors
from tests.models import build

SHARED = Path(os.environ.get("NPUD_SHARED", Path(__file__).resolve().parents[3] / "shared"))
REAL = "models/rknn/yolov8n_rk3588_i8.rknn"
SEED, FRAMES, SIZE = 2, (40, 44, 48, 52), (640, 480)


@dataclass(frozen=True)
class Case:
    """A model file, its side file, the pictures that the side file knows.

    The stand-in gives a picture's outputs only for exactly the bytes that npud should feed; any
    other input finds nothing.
    """

    model: Path
    tensors: Path
    pictures: tuple[Path, ...]
    expected: tuple[Path, ...]  # per picture, the float model's detections (.npz)

    def detections(self, number: int) -> Detections:
        """What the float model finds in a picture."""
        found = np.load(self.expected[number])
        return Detections(found["boxes"], found["scores"], found["class_ids"])


def make_cases(folder: Path) -> dict[str, Case]:
    """All cases that can be made here; also written to cases.json, for the board."""
    cases = {"street": _street(folder)}
    if (SHARED / REAL).is_file():
        cases["bus"] = _bus(folder)
    texts = {name: [[str(c.model), str(c.tensors)], [*map(str, c.pictures)],
                    [*map(str, c.expected)]] for name, c in cases.items()}  # fmt: skip
    (folder / "cases.json").write_text(json.dumps(texts))
    return cases


def read_cases(folder: Path) -> dict[str, Case]:
    """What make_cases wrote on the host."""
    texts = json.loads((folder / "cases.json").read_text())
    paths = {name: [tuple(map(Path, part)) for part in parts] for name, parts in texts.items()}
    return {n: Case(*files, pictures, found) for n, (files, pictures, found) in paths.items()}


def _street(folder: Path) -> Case:
    """The bundled model as if rknn-toolkit2 had quantized it, on pictures of the street."""
    from runtime.backends.onnx import OnnxBackend  # not on the board

    backend = OnnxBackend(bundled.MODEL, BackendOptions())
    info = models.describe(bundled.MODEL)
    fed = Preprocessor(InputSpec((320, 320), "nhwc", np.dtype(np.uint8), std=(1, 1, 1)))
    pictures, sums, results = [], [], []
    for number in FRAMES:
        pixels, _ = Street(SEED, SIZE).frame(number)
        pictures.append(folder / f"street{number}.png")
        cv2.imwrite(str(pictures[-1]), pixels)
        tensor, _ = fed(Frame(pixels))
        sums.append(stub_tensors.checksum(tensor))
        planar = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)).astype(np.float32) / 255
        results.append(backend.infer([planar]))
    outputs = [_quantized(spec, [r[i] for r in results]) for i, spec in enumerate(backend.outputs)]
    model = folder / "street.rknn"
    image = build.rknn_tensor("images", [1, 3, 320, 320], 1 / 255, -128, (0, 1))
    tensors = [_described(spec) for spec in outputs]
    ops = [info.origins[spec.name].op for spec in outputs]
    model.write_bytes(build.rknn(tensors, ops, image=image))
    manifest = bundled.MODEL.with_suffix(".toml").read_text()
    model.with_suffix(".toml").write_text(manifest.partition("[golden]")[0])
    frames = [(s, [stub_tensors.quantize(a, o) for a, o in zip(r, outputs)])
              for s, r in zip(sums, results)]  # fmt: skip
    side = folder / "street.tensors"
    stub_tensors.write(side, models.describe(model).inputs, outputs, frames)
    expected = [_detect(picture, Model()) for picture in pictures]
    return Case(model, side, tuple(pictures), tuple(expected))


def _detect(picture: Path, settings: Model) -> Path:
    """Detections of a float model on onnxruntime."""
    detector = Detector(read_model(settings), settings, Chip())
    found, _ = detector.detect(Frame(cv2.imread(str(picture))))
    path = picture.with_suffix(".npz")
    np.savez(path, boxes=found.boxes, scores=found.scores, class_ids=found.class_ids)
    return path


def _bus(folder: Path) -> Case:
    """The real yolov8n for RK3588 with what the vendor's simulator returned for bus.jpg."""
    info = models.describe(SHARED / REAL)
    pixels = cv2.imread(str(SHARED / "data/bus.jpg"))
    picture = folder / "bus.png"
    cv2.imwrite(str(picture), pixels)
    fed = Preprocessor(InputSpec((640, 640), "nhwc", np.dtype(np.uint8), std=(1, 1, 1)))
    tensor, _ = fed(Frame(pixels))
    recorded = np.load(SHARED / (REAL + ".sim_bus.npz"))
    arrays = [stub_tensors.quantize(recorded[f"arr_{i}"], o) for i, o in enumerate(info.outputs)]
    side = folder / "bus.tensors"
    frame = (stub_tensors.checksum(tensor), arrays)
    stub_tensors.write(side, info.inputs, info.outputs, [frame])
    expected = _detect(picture, Model(path=str(SHARED / "models/yolov8n.onnx")))
    return Case(SHARED / REAL, side, (picture,), (expected,))


def _quantized(spec: TensorSpec, arrays: list[np.ndarray]) -> TensorSpec:
    """The spec as int8 with the range of these arrays, 0 among it, as calibration does it."""
    low = min(0.0, *(float(a.min()) for a in arrays))
    high = max(0.0, *(float(a.max()) for a in arrays))
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    quantization = Quantization.per_tensor(scale, zero)
    return TensorSpec(spec.name, spec.shape, np.dtype(np.int8), "nchw", quantization)


def _described(spec: TensorSpec) -> dict[int, object]:
    assert spec.quantization is not None
    scale, zero = float(spec.quantization.scale), int(spec.quantization.zero_point)
    span = ((-128 - zero) * scale, (127 - zero) * scale)
    return build.rknn_tensor(spec.name, spec.shape, scale, zero, span)
