"""The daemon's HTTP pages: /metrics, /healthz, /readyz; small, bounded, on loopback by default.

A client has QUIET_S between two parts of its request and DEADLINE_S for all of it.  There are at
most MAX_CLIENTS; one more takes the place of the one that has been there for longest.  At most
ACCEPTS are let in per TICK_S.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

from npud.errors import BackendUnavailable, ConfigError, PublishError
from runtime.config import Metrics
from runtime.health import Health
from runtime.loopback import is_loopback
from runtime.pipeline import Pipeline
from runtime.recording.backlog import Backlog

log = logging.getLogger("npud")
KEY = "metrics.listen"
MAX_CLIENTS, QUIET_S, DEADLINE_S = 8, 3.0, 10.0
ACCEPTS, TICK_S, POLL_S = 4, 0.02, 0.25
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What a page says: HTTP status, content type, body."""

    status: int
    kind: str
    body: bytes


Page = Callable[[str], Answer]  # of the request's Accept header


class WebServer:
    """An HTTP server that listens at once and answers from start() on.

    Raises ConfigError for an address that is none or that others could reach, and PublishError
    where it cannot be bound.
    """

    def __init__(self, settings: Metrics) -> None:
        if find_spec("prometheus_client") is None:
            raise BackendUnavailable(
                f"{KEY}: needs prometheus_client, which is not installed: "
                "pip install 'npud[metrics]'"
            )
        self._server = _bound(settings)
        host = settings.listen.rpartition(":")[0]
        self.url = f"http://{host}:{self._server.server_address[1]!s}"
        self._thread: threading.Thread | None = None

    def start(self, pages: Mapping[str, Page]) -> None:
        """Answer with these pages, by path, in threads."""
        self._server.pages = dict(pages)
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(POLL_S,), name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
        self._server.cut_all()
        self._server.server_close()


def health_pages(health: Health) -> dict[str, Page]:
    """/healthz and /readyz: 200 or 503, and why, as JSON."""

    def page(ask: Callable[[], tuple[bool, dict[str, Any]]]) -> Page:
        def answer(_: str) -> Answer:
            well, why = ask()
            text = json.dumps(why, indent=1, ensure_ascii=False) + "\n"
            return Answer(200 if well else 503, "application/json", text.encode())

        return answer

    return {"/healthz": page(health.alive), "/readyz": page(health.ready)}


def metrics_page(pipeline: Pipeline, backlog: Backlog | None) -> dict[str, Page]:
    """/metrics, in the form that Prometheus asks for."""
    from runtime.metrics import Exposition

    exposition = Exposition(pipeline, backlog)
    return {"/metrics": lambda accept: Answer(200, *exposition.page(accept))}


class _Server(ThreadingHTTPServer):
    """http.server's, with bounds."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self.pages: dict[str, Page] = {}
        self._lock = threading.Lock()
        self._since: dict[socket.socket, float] = {}  # clients, in order of arrival
        self._accepted, self._tick = 0, 0.0
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the name service who we are, as http.server's does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take one in, in place of the oldest where there are too many."""
        with self._lock:
            while len(self._since) >= MAX_CLIENTS:
                self._cut(next(iter(self._since)))
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A client is done with."""
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """After each connection, and every POLL_S: cut who took too long; wait after too many."""
        now = time.monotonic()
        with self._lock:
            for client in [c for c, since in self._since.items() if now > since + DEADLINE_S]:
                self._cut(client)
        if now > self._tick + TICK_S:
            self._accepted, self._tick = 0, now
        self._accepted += 1
        if self._accepted > ACCEPTS:
            time.sleep(TICK_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's concern; a bug is logged, and survived."""
        log.debug("metrics: a client went away", exc_info=True)

    def cut_all(self) -> None:
        """End all connections."""
        with self._lock:
            for client in list(self._since):
                self._cut(client)

    def _cut(self, client: socket.socket) -> None:
        self._since.pop(client, None)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)  # its thread wakes up, and ends


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer; of the request only the path and Accept are looked at."""

    timeout = QUIET_S
    server: _Server

    def version_string(self) -> str:
        """Who answers; no versions to those who look for old ones."""
        return "npud"

    def do_GET(self) -> None:
        """Answer with a page."""
        answer = self._answer()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing: who asks every few seconds is no news."""

    def _answer(self) -> Answer:
        pages = self.server.pages
        page = pages.get(self.path.partition("?")[0])
        if page is None:
            return Answer(404, PLAIN, f"expected one of {', '.join(pages)}\n".encode())
        try:
            return page(self.headers.get("Accept", ""))
        except Exception:  # a bug must not look like a client's mistake
            log.exception("metrics: %s", self.path[:40])
            return Answer(500, PLAIN, b"npud has a bug; its log says more\n")


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16):
        raise ConfigError(f"{KEY}: expected ADDRESS:PORT such as 127.0.0.1:9109, got {listen!r}")
    return host, int(port)


def _bound(settings: Metrics) -> _Server:
    listen = settings.listen
    host, port = _address(listen)
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        address = str(found[0])
        if not is_loopback(address) and not settings.insecure:
            raise ConfigError(
                f"{KEY}: {listen} can be read from other machines; expected a loopback address, "
                "or metrics.insecure = true to allow it"
            )
        return _Server((address, port), family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PublishError(f"{KEY}: cannot listen on {listen}: {reason}") from None
