"""What other programs import: subscribe to detections, typed messages, the errors."""

from npud._version import __version__
from npud.comparison import CompareMessage
from npud.detections import DetectedObject, Detections, label_of
from npud.endpoints import DEFAULT_ENDPOINT
from npud.errors import HeartbeatLost, NpudError, PublishError, SubscribeError
from npud.messages import DetectionsMessage, FrameMessage, Message, StatusMessage
from npud.subscriber import Subscriber, subscribe

__all__ = [
    "DEFAULT_ENDPOINT",
    "CompareMessage",
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
    "Subscriber",
    "__version__",
    "label_of",
    "subscribe",
]
