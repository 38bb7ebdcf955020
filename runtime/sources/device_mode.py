"""What a V4L2 device shall deliver: format, size and rate, by what was asked and what it offers."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from fractions import Fraction

from npud.errors import SourceError
from runtime import v4l2
from runtime.frame import YuvMatrix, YuvRange
from runtime.sources.base import DEFAULT_FPS, SourceOptions, check_size

# what is asked for -> formats that are it; auto takes the first that is there, and fast enough
CODES = {"nv12": ("NV12", "NM12"), "yuyv": ("YUYV",), "bgr": ("BGR3",), "mjpeg": ("MJPG", "JPEG")}
ENOUGH_FPS = 30.0  # where the config asks for no rate, a format that offers so much is fast enough
SLACK = 0.9  # 29.97 is 30
Size = tuple[int, int]
Pix = v4l2.PixFormat | v4l2.PixFormatMplane


@dataclass(frozen=True)
class Mode:
    """What was agreed: format, (width, height), bytes from row to row per plane, range, rate."""

    code: str
    size: Size
    strides: list[int]
    yuv_range: YuvRange
    yuv_matrix: YuvMatrix
    fps: float


def agree(name: str, fd: int, device: v4l2.Device, options: SourceOptions) -> Mode:
    """Set the device up.  Raises SourceError with what it offers, OSError where it fails."""
    return _Setup(name, fd, device).run(options)


class _Setup:
    def __init__(self, name: str, fd: int, device: v4l2.Device) -> None:
        self._name, self._fd, self._device = name, fd, device
        self._kind = v4l2.buffer_type(device)

    def run(self, options: SourceOptions) -> Mode:
        code, size = self._choose(options)
        pix = self._set_format(code, size)
        fps = self._set_rate(f"{code} {_times(size)}", options.fps)
        planes = pix.plane_fmt[: pix.num_planes] if self._device.mplane else [pix]
        strides = [int(p.bytesperline) for p in planes]
        return Mode(code, size, strides, _range(pix), _matrix(pix), fps)

    def _choose(self, options: SourceOptions) -> tuple[str, Size]:
        """The format and size that cost least of those that are what was asked."""
        formats = self._device.formats
        kinds = list(CODES) if options.format == "auto" else [options.format]
        codes = [c for kind in kinds for c in CODES[kind] if c in formats]
        size = options.size or self._usual_size(codes)
        codes = [c for c in codes if _offers(formats[c], size)]
        rates = {code: v4l2.fastest(self._fd, code, size) for code in codes}
        wanted = options.fps or min(ENOUGH_FPS, max(rates.values(), default=0.0))
        for code, rate in rates.items():
            if not rate or rate >= SLACK * wanted:  # 0: it does not say
                return code, size
        what = "a format npud reads" if options.format == "auto" else options.format
        asked = [what, *([_times(size)] if options.size else [])]
        raise self._refused(" ".join(asked), options.fps)

    def _usual_size(self, codes: list[str]) -> Size:
        """What the device is set to, or else the largest of the first format that fits."""
        now = v4l2.Format(type=self._kind)
        v4l2.call(self._fd, v4l2.G_FMT, now)
        pix = now.fmt.mp if self._device.mplane else now.fmt.pix
        size = (int(pix.width), int(pix.height))
        if not codes or any(_offers(self._device.formats[c], size) for c in codes):
            return size
        return self._device.formats[codes[0]][0].largest

    def _set_format(self, code: str, size: Size) -> Pix:
        wanted = v4l2.Format(type=self._kind)
        pix: Pix = wanted.fmt.mp if self._device.mplane else wanted.fmt.pix
        pix.width, pix.height, pix.pixelformat = *size, v4l2.fourcc(code)
        pix.field = v4l2.FIELD_NONE
        v4l2.call(self._fd, v4l2.S_FMT, wanted)
        if (v4l2.code_of(pix.pixelformat), pix.width, pix.height) != (code, *size):
            raise self._refused(f"{code} {_times(size)}")
        check_size((size[1], size[0]), self._name)
        nv12 = code in CODES["nv12"]
        if (nv12 or code == "YUYV") and (size[0] % 2 or (nv12 and size[1] % 2)):
            raise SourceError(f"{self._name}: expected even sides for {code}, got {_times(size)}")
        return pix

    def _set_rate(self, mode: str, fps: float | None) -> float:
        """Ask for a rate; returns what the device says, or what was asked where it says nothing."""
        rate = v4l2.CaptureParameters(type=self._kind)
        try:
            v4l2.call(self._fd, v4l2.G_PARM, rate)
            if fps:
                period = (1 / Fraction(fps)).limit_denominator(10**6)
                rate.numerator, rate.denominator = period.numerator, period.denominator
                v4l2.call(self._fd, v4l2.S_PARM, rate)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL):
                raise
        if not rate.numerator or not rate.denominator:
            return fps or DEFAULT_FPS
        got = float(rate.denominator / rate.numerator)
        if fps and got < SLACK * fps:
            raise self._refused(mode, fps)
        return got

    def _refused(self, asked: str, fps: float | None = None) -> SourceError:
        offers = "; ".join(self._offer(*one) for one in self._device.formats.items())
        rate = f" at {fps:g} fps" if fps else ""
        return SourceError(
            f"{self._name}: expected {asked}{rate}, which {self._device.name} does not offer; "
            f"it has {offers or 'no format'}"
        )

    def _offer(self, code: str, sizes: list[v4l2.Sizes]) -> str:
        parts = []
        for one in sizes:
            fps = v4l2.fastest(self._fd, code, one.largest)
            low = "" if one.smallest == one.largest else f"{_times(one.smallest)} to "
            parts.append(f"{low}{_times(one.largest)}" + (f" at {fps:g} fps" if fps else ""))
        return f"{code} {', '.join(parts)}".strip()


def _range(pix: Pix) -> YuvRange:
    """V4L2_MAP_QUANTIZATION_DEFAULT where the driver does not say."""
    jpeg = not pix.quantization and pix.colorspace == v4l2.COLORSPACE_JPEG
    return "full" if jpeg or pix.quantization == v4l2.QUANTIZATION_FULL else "video"


def _matrix(pix: Pix) -> YuvMatrix:
    """V4L2_MAP_YCBCR_ENC_DEFAULT where the driver does not say."""
    hd = not pix.ycbcr_enc and pix.colorspace == v4l2.COLORSPACE_REC709
    return "bt709" if hd or pix.ycbcr_enc == v4l2.YCBCR_ENC_709 else "bt601"


def _times(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _offers(sizes: list[v4l2.Sizes], size: Size) -> bool:
    return not sizes or any(size in one for one in sizes)  # none: the driver does not list them
