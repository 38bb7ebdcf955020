"""The error tree.  Every message says what was expected, what came, and where.

NpudError
├── ConfigError          a key, value or option the user gave
├── ModelError           a model file, its manifest, or tensors that do not fit its head
├── BackendUnavailable   a vendor library, binding or device is missing
├── InferenceError       the NPU (or its simulator) failed on a call
├── SourceError          a camera, stream or file gives no frames
│   └── EndOfStream      a finite source has been read to its end
├── PublishError         the endpoint cannot be bound or written
├── RecordError          a recording cannot be written or read
├── ControlError         the control socket cannot be made or reached, or it refuses
└── SubscribeError       the endpoint cannot be reached, or what comes is not npud's
    └── HeartbeatLost    nothing has come for longer than the heartbeat timeout
"""

from __future__ import annotations


class NpudError(Exception):
    """Base of all errors raised on purpose by npud, postprocess and runtime."""


class ConfigError(NpudError):
    """A key, value or command-line option is wrong; the message starts with its path."""


class ModelError(NpudError):
    """A model file, its manifest or its tensors cannot be used; the message names the file."""


class BackendUnavailable(NpudError):  # noqa: N818
    """The backend lacks a library, binding or device; the message has the remedy."""


class InferenceError(NpudError):
    """A call into the NPU runtime (or its simulator) failed."""


class SourceError(NpudError):
    """A camera, stream or file cannot be opened or gives no frames."""


class EndOfStream(SourceError):  # noqa: N818
    """A finite source has been read to its end."""


class PublishError(NpudError):
    """The endpoint cannot be bound or written."""


class RecordError(NpudError):
    """A recording cannot be written, or is none; the message names the file."""


class ControlError(NpudError):
    """The control socket cannot be made or reached, or the daemon refuses what was asked."""


class SubscribeError(NpudError):
    """The endpoint cannot be reached, or its messages are not npud's."""


class HeartbeatLost(SubscribeError):  # noqa: N818
    """No message at all has come for longer than the heartbeat timeout."""
