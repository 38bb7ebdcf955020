"""The configuration: every key, its type, range, default and meaning, in one place.

`docs/config.md` is printed from here (`python -m runtime.config`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

import npud
from npud.errors import ConfigError
from npud.wire import MAX_LIST, valid_camera_name
from runtime.backends.base import VersionCheck
from runtime.models.manifest import Calibration, Conversion, Golden, Input, Manifest
from runtime.preprocess import InputSpec
from runtime.simulate.options import Simulate
from runtime.sources.base import CameraFormat
from runtime.validate import TOML_NAMES, convert, nearest

S = TypeVar("S", bound=msgspec.Struct)
Fraction = Annotated[float, Meta(ge=0, le=1)]


class Model(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[model]: which model, and what counts as a detection."""

    path: Annotated[
        str | None, Meta(description="model file; without it the bundled street model runs")
    ] = None
    manifest: Annotated[
        str | None, Meta(description="manifest file; default: the .toml beside the model, if any")
    ] = None
    score_threshold: Annotated[
        Fraction, Meta(description="detections below this score are dropped")
    ] = 0.25
    iou_threshold: Annotated[
        Fraction,
        Meta(description="of two boxes of a class that overlap by more, the better stays; 1 = all"),
    ] = 0.45
    max_detections: Annotated[
        int, Meta(ge=1, le=MAX_LIST, description="at most this many per frame, best first")
    ] = 300
    nms: Annotated[
        Literal["auto", "class", "agnostic", "none"],
        Meta(description="suppress within a class, across classes, or not; auto: the manifest's"),
    ] = "auto"
    sigmoid: Annotated[
        Literal["table", "exact", "npu"],
        Meta(
            description="of logits: by a table, by a polynomial, or the NPU has applied it (logits "
            "are refused then); docs/postprocess.md"
        ),
    ] = "table"
    table_size: Annotated[
        int, Meta(ge=16, le=65_536, description="steps of the table of float32 and int32 logits")
    ] = 1024
    table_range: Annotated[
        float, Meta(ge=1, le=100, description="that table is for logits from -this to this")
    ] = 10.0
    canary: Annotated[
        Literal["degraded", "refuse", "off"],
        Meta(
            description="a model that fails on its golden sample: publish the state degraded with "
            "the reason, refuse to run it, or do not look (docs/golden.md)"
        ),
    ] = "degraded"
    input: Annotated[Input, Meta(description="overrides the manifest's [input]")] = Input()


class Backend(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[backend]: what runs the model."""

    name: Annotated[
        str,
        Meta(
            description="auto (by the model file), or onnx, librknnrt, rknnlite, hobot, replay, "
            "rknn-sim, hobot-sim, or your own as module:Class"
        ),
    ] = "auto"
    contexts: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | Literal["auto"],
        Meta(
            description="inferences at the same time, each in a thread; auto: one per NPU core on "
            "Rockchip's, 2 on the RDK, 1 for .onnx"
        ),
    ] = "auto"
    contexts_per_process: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="of these, so many in one worker process; 0 = as many as the vendor's "
            "binding runs at once: all on Rockchip's, 1 on the RDK",
        ),
    ] = 0
    isolation: Annotated[
        Literal["auto", "process", "thread"],
        Meta(
            description="inference in worker processes, which may crash and hang, or in threads of "
            "the daemon; auto: processes for models of a board, threads for .onnx"
        ),
    ] = "auto"
    deadline_ms: Annotated[
        int,
        Meta(ge=1, le=3_600_000, description="worker processes: killed when a frame takes longer"),
    ] = 500
    load_deadline_s: Annotated[
        float, Meta(gt=0, le=3600, description="worker processes: killed when loading takes longer")
    ] = 60.0
    max_memory_mib: Annotated[
        int,
        Meta(ge=0, description="worker processes: replaced when they have grown larger; 0 = never"),
    ] = 0
    threads: Annotated[
        int, Meta(ge=0, le=1024, description="onnx: CPU threads per inference; 0 = one per core")
    ] = 0
    native_layout: Annotated[
        bool,
        Meta(
            description="librknnrt: outputs as the NPU writes them (NC1HWC2), without a conversion "
            "on the CPU; not yet tried on a board"
        ),
    ] = False
    priority: Annotated[
        int, Meta(ge=0, le=255, description="hobot: 255 goes before all others on the BPU")
    ] = 0
    core_id: Annotated[
        int, Meta(ge=0, le=2, description="hobot: 0 any BPU core, 1 the first, 2 the second")
    ] = 0
    version_check: Annotated[
        VersionCheck,
        Meta(description="a model or driver that cannot fit the board: refuse it, or warn and try"),
    ] = "refuse"
    simulate: Annotated[
        Simulate, Meta(description="onnx: numerics of an NPU, a table: see [backend.simulate]")
    ] = Simulate()


class Camera(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[camera.NAME]: one table per camera; NAME goes into the topics."""

    url: Annotated[
        str,
        Meta(
            description="/dev/v4l/by-id/…, /dev/video0, rtsp://…, http://…, mipi:0, a video, an "
            "image, a directory, a glob, or synthetic:street?seed=7&size=1280x720&fps=30&frames=300"
        ),
    ]
    size: Annotated[
        tuple[Annotated[int, Meta(ge=8, le=16384)], Annotated[int, Meta(ge=8, le=16384)]] | None,
        Meta(description="[width, height] in pixels asked of a device or the generated camera"),
    ] = None
    fps: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(description="frames per second asked of a device; pace of files (default: their own)"),
    ] = None
    format: Annotated[
        CameraFormat,
        Meta(
            description="pixels asked of a device, stream or video: bgr, nv12, yuyv or mjpeg; "
            "auto: what costs least (docs/cameras.md)"
        ),
    ] = "auto"
    decoder: Annotated[
        str,
        Meta(description='streams and videos: a decoder of FFmpeg, as "h264_rkmpp"; "" = its own'),
    ] = ""
    loop: Annotated[bool, Meta(description="files: start again at the end")] = False
    max_fps: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(description="frames beyond this rate are passed over, and not counted as captured"),
    ] = None
    max_age_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="frames that are older when the NPU is free for them are dropped; 0 = none",
        ),
    ] = 0
    timeout_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3600,
            description="live: one that opens or gives a frame no sooner has failed",
        ),
    ] = 5.0
    reconnect_max_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3600,
            description="live: opened again 0.5 s after it failed, then twice as long, up to this",
        ),
    ] = 30.0
    required: Annotated[
        bool,
        Meta(
            description="one that cannot be opened at the start ends npud; false: it is opened "
            "again until it is there"
        ),
    ] = True
    frozen_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="live: degraded when the picture is the same for so long; 0 = never",
        ),
    ] = 30.0
    priority: Annotated[
        float,
        Meta(
            gt=0,
            le=1000,
            description="share of the NPU when it cannot serve all: 2 gets twice what 1 gets",
        ),
    ] = 1.0


class Publish(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[publish]: where detections go."""

    endpoint: Annotated[str, Meta(description="ipc://PATH or tcp://ADDRESS:PORT to bind")] = (
        npud.DEFAULT_ENDPOINT
    )
    frames: Annotated[bool, Meta(description="publish JPEG pictures too (frames/<camera>)")] = False
    jpeg_quality: Annotated[int, Meta(ge=1, le=100, description="quality of those pictures")] = 80
    insecure: Annotated[
        bool, Meta(description="allow tcp:// beyond this machine without encryption")
    ] = False
    key: Annotated[
        str,
        Meta(description="the daemon's secret key (`npud keys`): everything is encrypted (CURVE)"),
    ] = ""
    clients: Annotated[
        str, Meta(description="with key: folder with the public keys of those who may subscribe")
    ] = ""
    mode: Annotated[
        str,
        Meta(
            pattern="^0[0-7]{3}$",
            description="permissions of an ipc:// socket: who may write to it may subscribe",
        ),
    ] = "0660"
    group: Annotated[
        str, Meta(description='group of an ipc:// socket; "" = that of the user npud runs as')
    ] = ""
    send_buffer: Annotated[
        int,
        Meta(
            ge=1, le=100_000, description="messages kept for a slow subscriber before it loses some"
        ),
    ] = 200


class Control(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[control]: the socket that `npud status` and `npud record --last` talk to."""

    socket: Annotated[
        str | None,
        Meta(
            description='path of the socket, "" for none; default: beside an ipc:// endpoint, '
            "PATH.control; none for tcp://"
        ),
    ] = None
    mode: Annotated[
        str,
        Meta(pattern="^0[0-7]{3}$", description="its permissions: who may write to it may ask"),
    ] = "0600"
    group: Annotated[str, Meta(description='its group, with mode = "0660"')] = ""


class Record(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[record]: the last seconds, kept in memory and written when something goes wrong."""

    enabled: Annotated[
        bool, Meta(description="keep frames, raw outputs and detections of the last seconds")
    ] = False
    seconds: Annotated[float, Meta(gt=0, le=3600, description="how many of them, at most")] = 10.0
    max_mib: Annotated[
        int, Meta(ge=8, le=65536, description="memory for them, at most: then fewer seconds")
    ] = 64
    folder: Annotated[str, Meta(description="where recordings are written")] = (
        "/var/lib/npud/recordings"
    )
    keep: Annotated[int, Meta(ge=1, le=10_000, description="older ones there are removed")] = 5
    frames: Annotated[
        Literal["jpeg", "raw", "none"], Meta(description="pictures: packed, as they came, or none")
    ] = "jpeg"
    on_alarm: Annotated[
        bool, Meta(description="write them when a camera's state becomes degraded")
    ] = True


class Compare(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[compare]: a variant b beside the published one, judged on the same frames."""

    mode: Annotated[
        Literal["off", "shadow", "split"],
        Meta(
            description="shadow: b sees sampled frames that a has published; split: b gets and "
            "publishes its share of the frames"
        ),
    ] = "off"
    sample: Annotated[
        float, Meta(gt=0, le=1, description="share of the frames that b sees, at most")
    ] = 0.1
    model: Annotated[
        dict[str, Any], Meta(description="[compare.model]: keys of [model] that differ in b")
    ] = {}
    backend: Annotated[
        dict[str, Any],
        Meta(
            description="[compare.backend]: keys of [backend] that differ in b; in shadow mode "
            "it has one context unless it says more"
        ),
    ] = {}
    log: Annotated[
        str, Meta(description="file that each promotion is written to, with its figures; JSON")
    ] = ""
    promote_after: Annotated[
        int,
        Meta(
            ge=0,
            description="shadow: after so many frames of every camera b is published by itself, "
            "if it loses no more than max_loss; 0 = never",
        ),
    ] = 0
    max_loss: Annotated[
        float,
        Meta(ge=0, le=100, description="per cent of a's boxes; the interval must lie below it"),
    ] = 1.0


class Metrics(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[metrics]: what Prometheus and health checks ask over HTTP (docs/metrics.md)."""

    listen: Annotated[
        str,
        Meta(description='ADDRESS:PORT to serve them on, as 127.0.0.1:9109; "" = nowhere'),
    ] = ""
    insecure: Annotated[
        bool, Meta(description="allow an address beyond this machine: anybody may read it there")
    ] = False


class Log(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[log]: what the daemon writes to stderr, or to the journal."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the least that is told")
    ] = "info"
    format: Annotated[
        Literal["auto", "plain", "json", "journal"],
        Meta(
            description="lines of text, a JSON object per line, or fields for the journal; auto: "
            "the journal where stderr goes there, else plain"
        ),
    ] = "auto"
    per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="the same event of the same camera is told so often, then counted; 0 = no "
            "limit",
        ),
    ] = 10


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    model: Model = Model()
    backend: Backend = Backend()
    camera: dict[str, Camera] = {}
    publish: Publish = Publish()
    control: Control = Control()
    record: Record = Record()
    compare: Compare = Compare()
    metrics: Metrics = Metrics()
    log: Log = Log()


def variant_b(settings: Config, where: str = "config") -> Config:
    """The configuration with [compare.model] and [compare.backend] over [model] and [backend].

    Variant b has one context in shadow mode unless it says more.  Raises ConfigError.
    """
    compare = settings.compare
    own = {"contexts": 1} if compare.mode == "shadow" else {}
    return msgspec.structs.replace(
        settings,
        model=_over(settings.model, compare.model, f"{where}: compare.model"),
        backend=_over(settings.backend, own | compare.backend, f"{where}: compare.backend"),
    )


def _over(below: S, given: dict[str, Any], where: str) -> S:
    """A section with some of its keys replaced; tables within are merged."""
    plain: dict[str, Any] = msgspec.to_builtins(below)
    for key, value in given.items():
        inner = plain.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        plain[key] = {**inner, **value} if both else value  # type: ignore[dict-item]
    return convert(plain, type(below), where)


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "model": Model,
    "backend": Backend,
    "publish": Publish,
    "control": Control,
    "record": Record,
    "compare": Compare,
    "metrics": Metrics,
    "log": Log,
}


def parse(raw: dict[str, Any], where: str = "config") -> Config:
    """Check a parsed TOML document; raises ConfigError `where: section.key: expected …, got …`."""
    known = [*SECTIONS, "camera"]
    for name, value in raw.items():
        if name not in known:
            raise ConfigError(f"{where}: {name}: unknown table{nearest(name, known)}")
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise ConfigError(
                f"{where}: {name}: expected a table, got {TOML_NAMES.get(kind, kind)}"
            )
    sections: dict[str, Any] = {
        name: convert(raw[name], kind, f"{where}: {name}")
        for name, kind in SECTIONS.items()
        if name in raw
    }
    cameras: dict[str, Camera] = {}
    for name, table in raw.get("camera", {}).items():
        if not valid_camera_name(name):
            raise ConfigError(
                f"{where}: camera.{name}: expected a name of letters, digits, _ . -, got {name!r}"
            )
        cameras[name] = convert(table, Camera, f"{where}: camera.{name}")
    settings = Config(camera=cameras, **sections)
    variant_b(settings, where)  # raises for what it cannot be
    return settings


def document() -> str:
    """The reference of all keys as Markdown: docs/config.md."""
    lines = [
        "# Configuration",
        "",
        "`npud run --config FILE` reads TOML. Every key is optional but a camera's `url`; unknown",
        "keys are refused with the nearest known name. Command-line options override the file.",
        "This page is printed by `python -m runtime.config`.",
    ]
    tables: list[tuple[str, type[msgspec.Struct]]] = [
        ("[model]", Model),
        ("[model.input]", Input),
        ("[backend]", Backend),
        ("[backend.simulate]", Simulate),
        ("[camera.NAME]", Camera),
        ("[publish]", Publish),
        ("[control]", Control),
        ("[record]", Record),
        ("[compare]", Compare),
        ("[metrics]", Metrics),
        ("[log]", Log),
        ("The manifest: MODEL.toml", Manifest),
        ("The manifest's [conversion]", Conversion),
        ("The manifest's [calibration]", Calibration),
        ("The manifest's [golden]", Golden),
    ]
    for title, kind in tables:
        about = (
            (kind.__doc__ or "").partition(": ")[2]
            if kind is not Input
            else (
                "the manifest's [input], overridden key by key; the manifest beside a model "
                "has the same table."
            )
        )
        lines += ["", f"## {title}", "", about[:1].upper() + about[1:], ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        defaults = InputSpec if kind is Input else None  # where nobody says
        lines += [_row(field, defaults) for field in msgspec.inspect.type_info(kind).fields]  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"


def _row(field: Any, defaults: type[InputSpec] | None) -> str:
    description = (getattr(field.type, "extra_json_schema", None) or {}).get("description", "")
    default = field.default
    if default is None and defaults:
        default = getattr(defaults, field.encode_name, None)
    if field.required:
        shown = "required"
    elif isinstance(default, (str, int, float, bool, tuple)):
        shown = f"`{msgspec.json.encode(default).decode()}`"
    else:
        shown = "–"
    return f"| `{field.encode_name}` | {shown} | {description} |"


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())
