"""[camera.NAME]."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from runtime.sources.base import CameraFormat


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
