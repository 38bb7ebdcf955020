"""The C extension built from native/.  Arrays pass through the buffer protocol, C-contiguous."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

# (output, first element, elements from cell to cell, elements from channel to channel)
View: TypeAlias = tuple[int, int, int, int]
# (rows, columns, stride in pixels, DFL bins or 0, box view, class view, objectness view)
Level: TypeAlias = tuple[int, int, int, int, View, View, View]

class Decoder:
    """Decodes the float32 outputs of one model; all buffers are allocated here."""

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
        table_size: int,
        outputs: tuple[tuple[int, ...], ...],
        levels: tuple[Level, ...],
    ) -> None: ...
    @property
    def kernels(self) -> str:
        """Name of the kernel variant in use."""
    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was not finite."""
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

def nms(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    class_ids: NDArray[Any],
    kept: NDArray[Any],
    iou_threshold: float,
    max_detections: int,
    mode: int,
    /,
) -> int:
    """Write the indices of the kept boxes into `kept` (int32); return their number.

    boxes (N, 4) float32 xyxy, scores (N,) float32, class_ids (N,) int32; mode indexes
    postprocess.options.NMS_MODES.
    """

def sigmoid(values: NDArray[Any], out: NDArray[Any], table_size: int, /) -> None:
    """Sigmoid of float32 values by a table of `table_size` steps, 0 for the exact polynomial."""
