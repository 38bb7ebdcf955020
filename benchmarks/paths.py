"""The paths through the post-processing that are measured: which tensors, read how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import heads
from npud.errors import NpudError
from postprocess.decoder import Decoder, make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.options import Options
from postprocess.tensor import Quantization, TensorSpec

INPUT_SIZE = (640, 640)
IOU_THRESHOLD = 0.45
QUANTIZATION = {
    "prob": heads.PROBABILITY,
    "sum": heads.PROBABILITY,
    "logit": heads.LOGIT,
    "box": heads.BOX,
}
CASES: dict[str, heads.Arrays] = {}


@dataclass(frozen=True)
class Path:
    """One path: per stride the tensors `roles`, each a LAYOUT_ROLE_DTYPE of benchmarks.heads.

    `roles` is ("v5_i8",) and the like for anchor heads, ("ultra",) for the flat head.
    """

    name: str
    head: str
    roles: tuple[str, ...]

    @property
    def layout(self) -> str:
        """Memory layout of the grids ("nchw" for the joined heads, too)."""
        return "nhwc" if self.roles[0].startswith("nhwc") else "nchw"

    @property
    def logits(self) -> bool:
        """Whether the classes are logits."""
        return any("logit" in role for role in self.roles)

    def names(self) -> list[str]:
        """The tensors' names, in the order of a model's outputs."""
        if self.head == "flat":
            return list(self.roles)
        return [f"{role}_{level}" for level in range(3) for role in self.roles]

    def tensors(self, case: str) -> list[NDArray[Any]]:
        """The tensors of a frame, shaped as a model returns them."""
        if case not in CASES:
            CASES[case] = heads.tensors(case)
        return [CASES[case][name].reshape(self.shape(name)) for name in self.names()]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor as a model returns it."""
        if self.head == "flat":
            return (1, 4 + heads.CLASSES, heads.CELLS)
        grid = heads.GRIDS[int(name[-1])][0]
        if self.head == "anchor":
            return (1, 3 * (5 + heads.CLASSES), grid, grid)
        role = name.split("_")[1]
        channels = {"box": 4 * heads.BINS, "ltrb": 4, "sum": 1}.get(role, heads.CLASSES)
        return (1, grid, grid, channels) if self.layout == "nhwc" else (1, channels, grid, grid)

    def quantization(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
        """Scale and zero point of a tensor: () or one per channel; None for floats."""
        if "_i32_" in name:
            channels = 4 * heads.BINS
            scale = np.full(channels, heads.BOX_INT32_SCALE, np.float32)
            return scale, np.zeros(channels, np.int32)
        if "_i8_" not in name:
            return None
        role = "prob" if self.head == "anchor" else name.split("_")[1]
        scale, zero_point = QUANTIZATION[role]
        return np.asarray(scale, np.float32), np.asarray(zero_point, np.int32)

    def specs(self, case: str) -> list[TensorSpec]:
        """What a backend would say of the outputs."""
        specs = []
        for name, tensor in zip(self.names(), self.tensors(case)):
            pair = self.quantization(name)
            quantization = Quantization(*pair) if pair else None
            specs.append(TensorSpec(name, tensor.shape, tensor.dtype, "", quantization))
        return specs

    def decoder(self, case: str, kernels: str = "native") -> Decoder | None:
        """Npud's decoder; None where npud cannot decode this yet."""
        options = Options(heads.threshold_of(case), IOU_THRESHOLD, max_detections(case))
        try:
            specs = self.specs(case)
            return make_decoder(
                recognise(specs, INPUT_SIZE, self._hints()), specs, options, kernels
            )
        except (NpudError, TypeError, ValueError):
            return None

    def _hints(self) -> Hints:
        known: dict[str, Any] = {"num_classes": heads.CLASSES, "activation_evidence": "benchmark"}
        known["activation"] = "logits" if self.logits else "probabilities"
        if self.head == "anchor":
            known["anchors"] = heads.ANCHORS
        if self.head != "flat":
            known["layout"] = self.layout
        return Hints(head=self.head, **known)  # type: ignore[arg-type]


def max_detections(case: str) -> int:
    """Npud's default on frames as they come; everything where the case is about quantity."""
    return 300 if case in ("R", "Q") else heads.CELLS


PATHS = (
    Path("dfl NCHW int8", "dfl", ("nchw_box_i8", "nchw_prob_i8")),
    Path("dfl NCHW int8, score sum", "dfl", ("nchw_box_i8", "nchw_prob_i8", "nchw_sum_i8")),
    Path("dfl NCHW float32", "dfl", ("nchw_box_f32", "nchw_prob_f32")),
    Path("dfl NCHW float32, score sum", "dfl", ("nchw_box_f32", "nchw_prob_f32", "nchw_sum_f32")),
    Path("dfl NHWC int8 logits", "dfl", ("nhwc_logit_i8", "nhwc_box_i8")),
    Path("dfl NHWC float32", "dfl", ("nhwc_logit_f32", "nhwc_box_f32")),
    Path("dfl NHWC int32 boxes", "dfl", ("nhwc_logit_f32", "nhwc_box_i32")),
    Path("ltrb NHWC float32", "ltrb", ("nhwc_logit_f32", "nhwc_ltrb_f32")),
    Path("anchor int8", "anchor", ("v5_i8",)),
    Path("anchor float32", "anchor", ("v5_f32",)),
    Path("flat float32", "flat", ("ultra",)),
)
BY_NAME = {path.name: path for path in PATHS}


def candidates(case: str) -> tuple[heads.Floats, heads.Floats, NDArray[np.int32]]:
    """What NMS alone gets: xyxy boxes (N, 4), scores (N,), class ids (N,) above the threshold."""
    rows = BY_NAME["flat float32"].tensors(case)[0][0].T
    rows = rows[rows[:, 4:].max(1) > heads.threshold_of(case)]
    centres, half = rows[:, :2], rows[:, 2:4] / 2
    boxes = np.ascontiguousarray(np.hstack([centres - half, centres + half]))
    class_ids = rows[:, 4:].argmax(1).astype(np.int32)
    return boxes, np.ascontiguousarray(rows[:, 4:].max(1)), class_ids
