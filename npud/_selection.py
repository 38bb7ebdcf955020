"""Which cameras and which kinds of messages a subscriber wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from npud.errors import SubscribeError
from npud.wire import KINDS, topic_of, valid_camera_name


class Selection:
    """The cameras and kinds asked for, as the topics to subscribe to; status is always in.

    `kinds` are those to hand out; `description` names the cameras for error messages.
    """

    def __init__(self, cameras: str | Iterable[str] | None, kinds: Sequence[str]) -> None:
        names = _checked_cameras(cameras)
        self.kinds = _checked_kinds(kinds)
        subscribed = sorted({*self.kinds, "status"})
        self.topics = [f"{kind}/".encode() for kind in subscribed]
        if names:
            self.topics = [topic_of(kind, name) for kind in subscribed for name in names]
        self.description = f" from camera {', '.join(names)}" if names else ""
        self._exact = frozenset(self.topics) if names else None

    def wants(self, topic: bytes) -> bool:
        """Tell whether a received topic was asked for: ZeroMQ's "front" brings "front2" too."""
        return self._exact is None or topic in self._exact


def _checked_cameras(cameras: str | Iterable[str] | None) -> list[str]:
    if cameras is None:
        return []
    names = sorted({cameras} if isinstance(cameras, str) else set(cameras))
    if not names or not all(valid_camera_name(name) for name in names):
        raise SubscribeError(
            f"cameras: expected None, or names of 1 to 64 letters, digits, '_', '.' or '-', "
            f"got {names}"
        )
    return names


def _checked_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    if isinstance(kinds, str) or not kinds or not set(kinds) <= set(KINDS):
        raise SubscribeError(f"topics: expected some of {', '.join(KINDS)}, got {kinds!r}")
    return tuple(kinds)
