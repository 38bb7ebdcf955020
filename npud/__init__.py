"""What other programs import: subscribe to detections, typed messages, the errors."""

from npud._version import __version__
from npud.detections import DetectedObject, Detections, label_of
from npud.errors import (
    HeartbeatLost,
    NpudError,
    PublishError,
    SubscribeError,
)
from npud.messages import DetectionsMessage, FrameMessage, Message, StatusMessage

__all__ = [
    "DetectedObject",
    "Detections",
    "DetectionsMessage",
    "FrameMessage",
    "HeartbeatLost",
    "Message",
    "NpudError",
    "PublishError",
    "StatusMessage",
    "SubscribeError",
    "__version__",
    "label_of",
]
