"""The C extension built from native/.  Arrays pass through the buffer protocol, C-contiguous."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

# (type as in struct, shape, strides in elements, scales (1,) or (C,) float32, zero points int32)
Output: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...], NDArray[Any], NDArray[Any]]
# (output, first element, row stride, cell stride, channel stride, first channel, channels of a
# block or 0, block stride), all in elements; output -1: no view
View: TypeAlias = tuple[int, ...]
# (rows, columns, stride in pixels, DFL bins or 0, anchor width, anchor height, whether the gate is
# a score sum, box view, class view, gate view: objectness, score or score sum)
Level: TypeAlias = tuple[int, int, float, int, float, float, bool, View, View, View]

class Decoder:
    """Decodes the outputs of one model; all buffers are allocated here."""

    def __init__(
        self,
        *,
        head: str,
        num_classes: int,
        logits: bool,
        threshold: float,
        score_floor: float,
        iou_threshold: float,
        max_detections: int,
        nms: int,
        multi_label: bool,
        sigmoid: int,
        table_size: int,
        table_range: float,
        outputs: tuple[Output, ...],
        levels: tuple[Level, ...],
        kernels: str,
    ) -> None: ...
    @property
    def kernels(self) -> str:
        """Name of the kernel variant in use."""
    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was not finite."""
    @property
    def contradictions(self) -> int:
        """Frames so far with a probability that cannot be one."""
    def decode(
        self,
        tensors: Sequence[NDArray[Any]],
        boxes: NDArray[Any],
        scores: NDArray[Any],
        class_ids: NDArray[Any],
        /,
    ) -> int:
        """Decode one frame into (M, 4) float32, (M,) float32, (M,) int32; M ≥ max_detections.

        Returns the number of detections.  Raises ValueError, TypeError or BufferError where an
        array does not fit.  Releases the GIL; threads take turns.
        """

def variants() -> tuple[str, ...]:
    """Names of the kernels this CPU can run, the fastest first; "auto" is the first of them."""

def nms(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    class_ids: NDArray[Any],
    kept: NDArray[Any],
    iou_threshold: float,
    max_detections: int,
    mode: int,
    kernels: str = "auto",
    /,
) -> int:
    """Write the indices of the kept boxes into `kept` (int32); return their number.

    boxes (N, 4) float32 xyxy, scores (N,) float32, class_ids (N,) int32; mode indexes
    postprocess.options.NMS_MODES.
    """

def sigmoid(
    values: NDArray[Any], out: NDArray[Any], mode: int, table_size: int, table_range: float, /
) -> None:
    """Sigmoid of float32 values; mode indexes INTERPOLATIONS, one more is the polynomial."""

def sigmoid_table(code: str, scale: float, zero_point: int, out: NDArray[Any], /) -> None:
    """Sigmoid of all values of a type (e, b, B or h), by their bits, into 256 or 65,536 float32."""
