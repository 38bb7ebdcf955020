"""What the daemon does with detections, and with itself: [publish], [record], [log] and others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import npud


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
