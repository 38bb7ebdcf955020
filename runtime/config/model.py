"""[model] and [backend]."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npud.wire import MAX_LIST
from runtime.backends.base import VersionCheck
from runtime.models.manifest import Input
from runtime.simulate.options import Simulate

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
