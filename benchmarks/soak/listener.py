"""A subscriber process of the soak: one line of JSON on stdout ten times a second.

    python -m benchmarks.soak.listener KIND ENDPOINT [KEYS]

attentive checks that nothing is missing; stoppable is the one that is stopped (SIGSTOP); strangers
have a wrong key and no key; restless connects and disconnects all the time.  KEYS: folder of `npud
keys`, with the clients "friend" and, in strangers/, "stranger".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq

import npud

EVERY_S = 0.1
SILENCE_S = 300.0
IN_WORK = 8  # frames that lanes may have in work when a later one is published
MOST_PROBLEMS = 20


def friend(keys: Path | None) -> dict[str, Any]:
    """Options of a subscriber that may hear."""
    if keys is None:
        return {}
    return {"server_key": keys / "server.key", "key": keys / "friend.key_secret"}


class Ledger:
    """What came, checked by its own count; `lost` is what npud.subscribe() says."""

    def __init__(self) -> None:
        self.cameras: dict[str, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.lost = self.gaps = self.received = 0

    def status(self, message: npud.StatusMessage) -> None:
        """Take a status."""
        camera = self._camera(message.camera)
        for name in ("state", "reason", "captured", "published", "dropped", "fps"):
            camera[name] = getattr(message, name)
        camera["status_ns"] = message.published_ns

    def detections(self, message: npud.DetectionsMessage) -> None:
        """Take detections, and hold them against those before."""
        camera = self._camera(message.camera)
        self.received += 1
        self.lost += message.lost
        if camera["received"]:
            self._compare(camera, message)
        if message.frame - message.seq > message.dropped + IN_WORK:
            self._problem(message, f"frames missing that are not counted: {message.dropped}")
        camera["received"] += 1
        for name in ("seq", "frame", "session", "captured_ns", "model"):
            camera[name] = getattr(message, name)

    def _compare(self, camera: dict[str, Any], message: npud.DetectionsMessage) -> None:
        if message.session != camera["session"]:
            self._problem(message, f"session changed from {camera['session']}")
        self.gaps += max(0, message.seq - camera["seq"] - 1)
        if message.seq <= camera["seq"] or message.frame <= camera["frame"]:
            self._problem(message, f"came after seq {camera['seq']}, frame {camera['frame']}")
        camera["missing"] += max(0, message.frame - camera["frame"] - 1)

    def _problem(self, message: npud.DetectionsMessage, text: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(
                f"{message.camera} seq {message.seq} frame {message.frame}: {text}"
            )

    def _camera(self, name: str) -> dict[str, Any]:
        new = {"received": 0, "missing": 0, "state": "", "status_ns": 0, "captured_ns": 0}
        return self.cameras.setdefault(name, new)


def attentive(endpoint: str, keys: Path | None) -> Iterator[dict[str, Any]]:
    """Hears everything."""
    ledger = Ledger()
    with npud.subscribe(
        endpoint,
        topics=("detections", "status"),
        heartbeat_timeout_s=SILENCE_S,
        receive_buffer=100_000,
        **friend(keys),
    ) as subscriber:
        while True:
            message = subscriber.recv(EVERY_S)
            if isinstance(message, npud.DetectionsMessage):
                ledger.detections(message)
            elif isinstance(message, npud.StatusMessage):
                ledger.status(message)
            yield vars(ledger)


def stoppable(endpoint: str, keys: Path | None) -> Iterator[dict[str, Any]]:
    """Hears pictures too, with little memory: it loses messages when it is stopped."""
    ledger = Ledger()
    context: zmq.Context[Any] = zmq.Context()
    context.setsockopt(zmq.RCVBUF, 1 << 16)
    with npud.subscribe(
        endpoint,
        topics=("detections", "frames"),
        heartbeat_timeout_s=SILENCE_S,
        receive_buffer=50,
        context=context,
        **friend(keys),
    ) as subscriber:
        while True:
            message = subscriber.recv(EVERY_S)
            if isinstance(message, npud.DetectionsMessage):
                ledger.detections(message)
            yield vars(ledger)


def strangers(endpoint: str, keys: Path | None) -> Iterator[dict[str, Any]]:
    """Must hear nothing, with a key that is not listed and without one."""
    heard = 0
    wrong = {} if keys is None else friend(keys) | {"key": keys / "strangers/stranger.key_secret"}
    both = [npud.subscribe(endpoint, heartbeat_timeout_s=None, **o) for o in (wrong, {})]
    while True:
        heard += sum(one.recv(EVERY_S) is not None for one in both)
        yield {"heard": heard}


def restless(endpoint: str, keys: Path | None) -> Iterator[dict[str, Any]]:
    """Comes and goes; every other time it stays until it has heard something."""
    came = heard = 0
    while True:
        with npud.subscribe(endpoint, heartbeat_timeout_s=None, **friend(keys)) as subscriber:
            heard += bool(came % 2) and subscriber.recv(SILENCE_S) is not None
        came += 1
        yield {"came": came, "heard": heard}
        time.sleep(EVERY_S)


KINDS = {kind.__name__: kind for kind in (attentive, stoppable, strangers, restless)}


def main() -> None:
    """Print what this kind of subscriber has to say, until it is killed."""
    kind, endpoint, *keys = sys.argv[1:]
    said = 0.0
    for state in KINDS[kind](endpoint, Path(keys[0]) if keys else None):
        now = time.monotonic()
        if now - said >= EVERY_S:
            said = now
            print(json.dumps(state), flush=True)


if __name__ == "__main__":
    main()
