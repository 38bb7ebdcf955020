"""The version gate: whether a model fits the board's chip, driver and runtime.

The table is in docs/boards.md, one row per check here.  "problem" is for what the vendor's runtime
is known to refuse or what cannot work; everything that merely was not tested is a warning.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from npud.errors import ModelError
from runtime.backends.base import VersionCheck
from runtime.models.finding import TARGETS, Finding
from runtime.models.info import ModelInfo
from runtime.models.versions import parse
from runtime.platform_info import Platform, read_platform

log = logging.getLogger("npud")
FAMILIES = {"rknn": "rockchip", "bin": "rdk"}  # model format -> whose boards run it
FORMAT_6_NEEDS = (1, 6, 0)  # librknnrt 1.3 to 1.5.0 refused it, 1.6.0 loaded it
FORMAT_6_REFUSED = (1, 5, 0)
OLD_DRIVER = (0, 9)
UPDATE_RKNNRT = (
    "put librknnrt.so {0} of rknn-toolkit2 into /usr/lib, or convert the model with "
    "rknn-toolkit2 {1}"
)


def enforce(
    path: Path, info: ModelInfo, check: VersionCheck, platform: Platform | None = None
) -> None:
    """Raise ModelError where the gate has a problem (log it with check "warn"); log warnings."""
    for finding in gate(info, platform or this_platform()):
        text = f"model {path}: {finding.text}" + (f"; {finding.remedy}" if finding.remedy else "")
        if finding.level == "problem" and check == "refuse":
            raise ModelError(f'{text} (backend.version_check = "warn" tries it nevertheless)')
        if finding.level != "ok":
            log.warning("%s", text)


@lru_cache(maxsize=1)
def this_platform() -> Platform:
    """The machine this runs on, looked at once."""
    return read_platform()


def gate(info: ModelInfo, platform: Platform) -> list[Finding]:
    """Findings on a model for a board; none where model or board says nothing about itself."""
    if info.format not in FAMILIES or not platform.family:
        return []  # an ONNX file, or a computer that is no board: nothing to compare
    if (target := _target(info, platform)).level == "problem":
        return [target]
    versions = _rockchip(info, platform) if info.format == "rknn" else _rdk(info, platform)
    return [target, *versions]


def _target(info: ModelInfo, platform: Platform) -> Finding:
    wanted = TARGETS.get(platform.soc, (platform.soc,))
    if platform.family == FAMILIES[info.format] and info.target.lower() in wanted:
        return Finding("target", "ok", f"made for {info.target}, which this {platform.soc} runs")
    made = f"made for {info.target or 'an unnamed chip'}, this board is an {platform.soc}"
    if platform.family == FAMILIES[info.format] and not info.target:
        return Finding("target", "warning", made)
    return Finding("target", "problem", made, f"convert the original model for {wanted[0]}")


def _rockchip(info: ModelInfo, platform: Platform) -> list[Finding]:
    toolkit, runtime = parse(info.versions.toolkit), parse(platform.runtime)
    found = []
    if not runtime:
        what = "names no version" if platform.library else "is not installed"
        found.append(
            Finding("runtime", "warning", f"librknnrt {what}", "see docs/boards.md, RK3588")
        )
    elif info.versions.format == "6" and runtime < FORMAT_6_NEEDS:
        known = runtime <= FORMAT_6_REFUSED
        text = f"librknnrt {platform.runtime} {'refuses' if known else 'may refuse'} format 6"
        remedy = "put librknnrt.so 1.6.0 or newer into /usr/lib; best is the toolkit's own version"
        found.append(Finding("runtime", "problem" if known else "warning", text, remedy))
    elif toolkit and toolkit != runtime[: len(toolkit)]:
        newer = "newer" if toolkit > runtime else "older"
        made = f"made with rknn-toolkit2 {info.versions.toolkit}"
        text = f"{made}, {newer} than librknnrt {platform.runtime}"
        remedy = UPDATE_RKNNRT.format(info.versions.toolkit, platform.runtime)
        found.append(Finding("runtime", "warning", text, remedy))
    else:
        text = f"librknnrt {platform.runtime}, as rknn-toolkit2 {info.versions.toolkit} asks for"
        found.append(Finding("runtime", "ok", text))
    driver = parse(platform.driver)
    if driver and driver < OLD_DRIVER:
        text = f"rknpu driver {platform.driver} is older than 0.9"
        found.append(Finding("driver", "warning", text, "update the image: it is in the kernel"))
    return found


def _rdk(info: ModelInfo, platform: Platform) -> list[Finding]:
    wanted, hbrt = parse(info.versions.runtime), parse(platform.hbrt)
    if not hbrt:
        return []
    asks = f"made for HBRT {info.versions.runtime}"
    if wanted[:3] == hbrt[:3]:
        return [Finding("runtime", "ok", f"{asks}, which this image has")]
    remedy = "update the image's hobot-dnn (apt), or convert with the hb_mapper of that release"
    if wanted[:3] > hbrt[:3]:
        text = f"{asks}, newer than this image's {platform.hbrt}"
        return [Finding("runtime", "warning", text, remedy)]
    if wanted[:2] == hbrt[:2]:
        return [Finding("runtime", "ok", f"{asks}; this image has {platform.hbrt}")]
    return [Finding("runtime", "warning", f"{asks}, this image has {platform.hbrt}", remedy)]
