"""The daemon: config -> detectors, publisher, pipeline; runs until a signal or the sources' end."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from types import FrameType

from npud.errors import SourceError
from runtime import logs
from runtime.ab import comparing
from runtime.config import Config
from runtime.contexts import open_engine
from runtime.control.commands import Daemon
from runtime.control.place import socket_path
from runtime.control.server import ControlServer
from runtime.detector import read_model
from runtime.engine import Engine
from runtime.health import Health
from runtime.notify import Notifier, ServiceManager
from runtime.pipeline import Pipeline
from runtime.publish import Publisher, Silence
from runtime.recording.backlog import Backlog
from runtime.recording.recorder import Recorder
from runtime.reload import DEFAULT_CAMERAS, Reloader
from runtime.web import WebServer, health_pages, metrics_page

log = logging.getLogger("npud")
STATUS_S = 1.0
IMPATIENT_S = 1.0
LOOK_S = 0.05  # how often it is looked whether to stop while the model is loaded
DESCRIPTORS = 65536


def run(
    settings: Config,
    *,
    every_frame: bool = False,
    recorder: Recorder | None = None,
    silent: bool = False,
    reread: Callable[[], Config] | None = None,
) -> None:
    """Detect and publish (unless silent) until SIGINT or SIGTERM, or until `recorder` is finished.

    With every_frame, files are worked through frame by frame and the end of all is success;
    otherwise a source that ends raises SourceError, as a camera's would, unless it is recorded.
    reread: gives the configuration anew, for a reload; SIGHUP asks for one then.
    """
    _raise_limit()
    stop, hangup = threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals(stop, hangup if reread else None))
        outlets = _bind(settings, silent, stack)
        engine = _load(settings, stop)
        if engine is None:
            log.info("stopped while the model was being loaded")
            return
        stack.callback(engine.close)
        parts = _assemble(settings, engine, outlets, every_frame, recorder, reread, stack)
        parts.pipeline.open(stop)
        stack.callback(lambda: comparing.end(parts.pipeline))
        stack.callback(parts.pipeline.stop)
        if not recorder:
            comparing.begin(parts.pipeline, settings)
        parts.pipeline.start()
        if not silent:
            _listen(settings, parts, stack)
        stack.callback(parts.manager.stopping)
        for _ in _seconds(parts.pipeline, stop, recorder):
            parts.tick()
            if hangup.is_set():
                hangup.clear()
                threading.Thread(target=parts.reloader.attempt, daemon=True).start()
    logs.tell_counted(everything=True)
    _conclude(parts.pipeline, stop.is_set() or every_frame or recorder is not None)


@dataclass
class _Outlets:
    """What is bound before the model is loaded, so that a second npud fails at once."""

    publisher: Publisher | Silence
    web: WebServer | None


@dataclass
class _Parts:
    """A daemon, put together."""

    pipeline: Pipeline
    reloader: Reloader
    manager: ServiceManager
    health: Health
    backlog: Backlog | None

    def tick(self) -> None:
        """What is to be done once a second."""
        statuses = self.pipeline.publish_status()
        self.manager.tell(statuses)
        self.health.tick(statuses)
        logs.tell_counted()
        if self.backlog:
            self.backlog.watch(statuses)
        self.reloader.watch()


def _bind(settings: Config, silent: bool, stack: contextlib.ExitStack) -> _Outlets:
    publisher = Silence() if silent else Publisher(settings.publish)
    stack.callback(publisher.close)
    web = WebServer(settings.metrics) if settings.metrics.listen and not silent else None
    if web:
        stack.callback(web.close)
    return _Outlets(publisher, web)


def _load(settings: Config, stop: threading.Event) -> Engine | None:
    """Load the model, in a thread: who is to stop does not wait for it.  Raises what it raises."""
    done: Future[Engine] = Future()

    def work() -> None:
        try:
            model = read_model(settings.model)
            done.set_result(open_engine(model, settings.model, settings.backend))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="load", daemon=True).start()
    while not stop.is_set():
        with contextlib.suppress(NotYet):
            return done.result(LOOK_S)
    return None


def _assemble(
    settings: Config,
    engine: Engine,
    outlets: _Outlets,
    every_frame: bool,
    recorder: Recorder | None,
    reread: Callable[[], Config] | None,
    stack: contextlib.ExitStack,
) -> _Parts:
    """Connect all parts; `stack` closes them."""
    backlog = Backlog(settings.record) if settings.record.enabled and not recorder else None
    if backlog:
        stack.callback(backlog.close)
    cameras = settings.camera or DEFAULT_CAMERAS
    pipeline = Pipeline(
        cameras,
        engine,
        outlets.publisher,
        settings.publish,
        every_frame=every_frame,
        recorder=backlog.recorder if backlog else recorder,
    )
    stack.callback(lambda: pipeline.engine.close())  # a reload may have exchanged it
    manager = ServiceManager(Notifier(), [n for n, c in cameras.items() if c.required])
    reloader = Reloader(pipeline, settings, reread or (lambda: settings), manager.reloading)
    health = Health(pipeline.required)
    if outlets.web:
        outlets.web.start({**metrics_page(pipeline, backlog), **health_pages(health)})
        log.info("metrics: %s/metrics", outlets.web.url)
    return _Parts(pipeline, reloader, manager, health, backlog)


def _conclude(pipeline: Pipeline, expected: bool) -> None:
    """Say how it ended; raises what made it end, unless that was expected."""
    if pipeline.failure:
        raise pipeline.failure
    log.info("stopped after %d messages", pipeline.published())
    if not expected:
        ends = [f"camera.{name}.url: {why}" for name, why in pipeline.ended().items()]
        raise SourceError("; ".join(ends) + " (camera.NAME.loop = true or --loop starts it again)")


def _raise_limit() -> None:
    """Have as many descriptors as the system allows: each connection to an endpoint takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _listen(settings: Config, parts: _Parts, stack: contextlib.ExitStack) -> None:
    """Serve the control socket, where there is to be one, and say where all is published."""
    path = socket_path(settings.control, settings.publish.endpoint)
    if path:
        daemon = Daemon(parts.pipeline, parts.reloader, settings.publish.endpoint, parts.backlog)
        server = ControlServer(path, settings.control, daemon.commands())
        stack.callback(server.close)
    cameras = ", ".join(settings.camera or DEFAULT_CAMERAS)
    log.info("publishing %s on %s", cameras, settings.publish.endpoint)


def _seconds(
    pipeline: Pipeline, stop: threading.Event, recorder: Recorder | None
) -> Iterator[None]:
    """Once a second, until there is a reason to end."""
    ticks = 0
    while pipeline.running() and not stop.wait(STATUS_S / 10):
        if recorder and recorder.finished:
            stop.set()
        ticks += 1
        if ticks % 10 == 0:
            yield


@contextlib.contextmanager
def _signals(stop: threading.Event, hangup: threading.Event | None) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; one that comes more than IMPATIENT_S later ends the process.

    Not any second one: timeout(1) and terminals send the same signal to process and group.  SIGHUP
    sets `hangup` where there is one.
    """
    asked = 0.0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not stop.is_set():
            asked = time.monotonic()
            stop.set()
        elif time.monotonic() - asked > IMPATIENT_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    if hangup:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: hangup.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
