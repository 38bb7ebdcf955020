"""The C extension built from native/pixels/.  Arrays pass through the buffer protocol."""

from typing import Any

from numpy.typing import NDArray

class Plan:
    """From frames of one geometry and format into tensors of one form; buffers live here.

    source: 0 BGR (H, W, 3), 1 NV12 (H·3/2, W), 2 YUYV (H, W, 2); layout: 0 (3, H, W), 1 (H, W, 3),
    2 NV12 (H·3/2, W); element: 0 bytes, 1 float32 byte · gain + offset, 2 and 3 entries of 8 and
    16 bits of the table.  Sizes are (height, width), corner (top, left) is where the picture of
    size `inner` lies in the tensor.  pad: 3 bytes, by channel of the tensor (BGR to NV12: B, G, R).
    matrix: float64 (3, 4), B, G, R of Y, U, V, 1, or Y, U, V of the source's three and 1.  floats:
    float32 gains and offsets (2, 3), table: uint16 (3, 256), both by channel of the tensor.
    kernels: a name of variants(), or "auto".  Raises ValueError.
    """

    def __new__(
        cls,
        *,
        source: int,
        layout: int,
        element: int,
        rgb: bool,
        source_size: tuple[int, int],
        size: tuple[int, int],
        inner: tuple[int, int],
        corner: tuple[int, int],
        pad: NDArray[Any],
        matrix: NDArray[Any],
        floats: NDArray[Any],
        table: NDArray[Any],
        kernels: str,
    ) -> Plan: ...
    @property
    def kernels(self) -> str:
        """Name of the kernel variant in use."""
    def run(self, source: NDArray[Any], target: NDArray[Any], /) -> None:
        """Fill target.  Both C-contiguous, of exactly the size; ValueError where they are not.

        The target is aligned to its elements, the source need not be.  Releases the GIL; threads
        take turns.
        """

def variants() -> tuple[str, ...]:
    """Kernel variants that this CPU can run, the fastest first."""
