"""Run npud for long at full speed while everything goes wrong that can, and see what is left.

    python -m benchmarks.soak [--minutes 30] [--seed N] [--report FILE] [--kills 20]

`npud run` with two worker processes, four cameras (generated, video, HTTP, pictures), TCP with keys
and pictures, the last seconds kept; subscribers in processes of their own: one that misses nothing,
one that is stopped at times, one with a wrong key and one without, one that comes and goes.  Faults
(benchmarks/soak/events/) come one after another in a random order, every kind once before any
comes again; the next one when the last one is recovered from.  Then SIGTERM, and daemons killed
(SIGKILL) at random moments.  Exit code 1 where anything failed: a fault not recovered from, a lost
message, a frame that is not accounted for, growth, a remainder.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2

from benchmarks.soak.camera import HttpCamera
from benchmarks.soak.events import EVENTS, Event
from benchmarks.soak.kills import killed_and_started
from benchmarks.soak.report import Happened, Run, commit, markdown
from benchmarks.soak.resources import Sampler, grown
from benchmarks.soak.rig import Files, Rig, pictures
from benchmarks.soak.scene import PATIENCE_S, Failure, Scene

LONG_MINUTES = 10  # from here on: rare faults, 10,000 connects, 20 kills
FLOODS = {True: (10_000, 2_000), False: (500, 500)}  # connects: first time, later
QUIET_S = 10.0
ENDS_S = 60.0
IN_WORK = 4  # lanes


def main() -> int:
    """Soak, report, and say whether all was well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, help="[20; 4 in less than 10 minutes]")
    parser.add_argument("--report", type=Path, help="write it there too")
    parser.add_argument("--only", help="nothing but this kind of fault (its function's name)")
    arguments = parser.parse_args()
    words = " ".join(sys.argv[1:])
    run = Run(
        command=f"python -m benchmarks.soak {words}".strip(),
        seed=arguments.seed,
        minutes=arguments.minutes,
        commit=commit(),
        meanings={event.__name__: str(event.__doc__) for event in EVENTS},
    )
    long = arguments.minutes >= LONG_MINUTES
    kills = (20 if long else 4) if arguments.kills is None else arguments.kills
    with tempfile.TemporaryDirectory(prefix="npud-soak-") as name:
        files = Files(Path(name))
        _soak(run, files, [e for e in EVENTS if _chosen(e, long, arguments.only)])
        _kills(run, files, kills)
    report = markdown(run)
    print(report)
    if arguments.report:
        arguments.report.write_text(report)
    return 1 if run.failures else 0


def _chosen(event: Event, long: bool, only: str | None) -> bool:
    name = event.__name__
    return name == only if only else long or not name.startswith("rare_")


def _soak(run: Run, files: Files, events: list[Event]) -> None:
    """The long part: faults, then SIGTERM."""
    http = HttpCamera(
        cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures(6, 60, (640, 360))
    )
    rig = Rig(files, "soak", tcp=True)
    rig.add_cameras(http)
    rig.start()
    first, later = FLOODS[run.minutes >= LONG_MINUTES]
    scene = Scene(rig, http, run.seed, first)
    try:
        scene.wait(lambda: len(scene.seen) == 4, "the four cameras did not come")
        scene.flows()
        _say(f"running; log {rig.log_file}")
        _faults(run, scene, events, later)
        _end(run, scene)
    except Failure as failure:
        run.failures.append(str(failure))
        _say(f"FAILED: {failure}\n{rig.log()[-3000:]}")
    finally:
        scene.close()
        rig.kill()


def _faults(run: Run, scene: Scene, events: list[Event], connects: int) -> None:
    sampler = Sampler(scene.rig.pid, 10 if run.minutes >= LONG_MINUTES else 2)
    sampler.start()
    begun = time.monotonic()
    order: list[Event] = []
    shuffle = random.Random(run.seed).shuffle
    rounds = 0
    try:
        time.sleep(QUIET_S)
        quiet = scene.count("missing"), scene.count("received")
        while time.monotonic() < begun + 60 * run.minutes or (order and rounds == 1):
            if not order:
                rounds += 1
                order = list(events)
                shuffle(order)
                scene.connects = scene.connects if rounds == 1 else connects
            happened = _one(scene, order.pop())
            run.happened.append(happened)
            if happened.failure:
                run.failures.append(f"{happened.kind}: {happened.failure}")
            scene.pause(0, 2)
    finally:
        sampler.stop()
        run.minutes = (time.monotonic() - begun) / 60
        run.samples = sampler.samples
    run.failures += grown(run.samples, run.minutes)
    run.totals["frames published a second before the first fault"] = round(quiet[1] / QUIET_S)


def _one(scene: Scene, event: Event) -> Happened:
    """Let one fault happen, and wait until all is well; raises Failure where it never is."""
    before, begun = scene.count("missing"), time.monotonic()
    failure = ""
    try:
        event(scene)
    except Failure as wrong:
        failure = str(wrong)
    lasts = event.__name__ in LASTING
    begun = time.monotonic() if lasts else begun
    try:
        scene.flows()
    except Failure as wrong:
        raise Failure(f"{event.__name__}: {failure} {wrong}".strip()) from None
    seconds = time.monotonic() - begun
    _say(f"{event.__name__}: {seconds:.1f} s {failure}")
    return Happened(event.__name__, seconds, scene.count("missing") - before, failure)


def _end(run: Run, scene: Scene) -> None:
    """SIGTERM: the end in time, with nothing left, and the books balanced."""
    attentive, rig = scene.listeners["attentive"], scene.rig
    status = {camera["camera"]: camera for camera in rig.ask("status")["cameras"]}
    code, seconds = rig.stop(ENDS_S)
    if code:
        run.failures.append(f"SIGTERM: exit code {code}")
    if left := rig.remains() + [f"process {pid}" for pid in rig.processes()]:
        run.failures.append(f"left after SIGTERM: {', '.join(left)}")
    heard = time.monotonic()
    while time.monotonic() < heard + PATIENCE_S / 3 and not all(
        camera["state"] == "stopped" for camera in scene.seen.values()
    ):
        time.sleep(0.1)
    for name, camera in scene.seen.items():
        _account(run, name, camera, status)
    state = attentive.state
    if state["lost"] or state["gaps"]:
        run.failures.append(f"lost messages: {state['lost']}, gaps: {state['gaps']}")
    run.failures += state["problems"]
    _others(run, scene)
    run.failures += _tracebacks(rig.log())
    run.totals |= {
        "messages received by the attentive subscriber": state["received"],
        "lost": state["lost"],
        "seconds from SIGTERM to exit code 0": round(seconds, 2),
    }


def _account(run: Run, name: str, camera: dict, status: dict) -> None:  # type: ignore[type-arg]
    """Captured = published + dropped, as the last status of each camera says.

    But for frames that were in work when that was said: npud waits for them for a second.
    """
    rest = camera["captured"] - camera["published"] - camera["dropped"]
    row = {key: camera[key] for key in ("captured", "published", "dropped", "received")}
    run.cameras.append({"camera": name, "rest": rest, **row})
    if camera["state"] != "stopped":
        run.failures.append(f"camera {name}: its last status did not come")
    elif not 0 <= rest <= IN_WORK:
        run.failures.append(f"camera {name}: {rest} frames are not accounted for")
    elif camera["published"] != camera["seq"] + 1 and name in status:
        run.failures.append(f"camera {name}: published {camera['published']}, seq {camera['seq']}")


def _others(run: Run, scene: Scene) -> None:
    """What the other subscribers heard."""
    stoppable, strangers, restless = (
        scene.listeners[kind].state for kind in ("stoppable", "strangers", "restless")
    )
    if strangers["heard"]:
        run.failures.append(f"strangers heard {strangers['heard']} messages")
    if stoppable["lost"] != stoppable["gaps"]:
        run.failures.append(f"{stoppable['gaps']} messages missing, told: {stoppable['lost']}")
    run.failures += stoppable["problems"]
    if restless["heard"] < restless["came"] // 2 - 1:
        run.failures.append(f"came {restless['came']} times, heard {restless['heard']}")
    run.totals |= {
        "lost by the subscriber that was stopped, and counted by it": stoppable["lost"],
        "heard by strangers": strangers["heard"],
        "subscribers that came and went": restless["came"],
    }


def _tracebacks(log: str) -> list[str]:
    """Tracebacks that nobody ordered."""
    blocks = log.split("Traceback (most recent call last)")[1:]
    wrong = [block for block in blocks if "as ordered" not in block[:3000]]
    return [f"traceback in the log: {block[:1000]}" for block in wrong[:3]]


def _kills(run: Run, files: Files, count: int) -> None:
    try:
        seconds = killed_and_started(files, count, run.seed)
        longest = max(seconds, default=0.0)
        run.totals[f"killed (SIGKILL) at random moments, {count} times"] = (
            f"the next one always came up, within {longest:.1f} s, and no process was left"
        )
    except (Failure, subprocess.TimeoutExpired) as failure:
        run.failures.append(f"kill -9: {failure}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# faults that last as long as the soak wishes: recovery is measured from their end
LASTING = frozenset(
    {"camera_off", "camera_silent", "camera_garbage", "damaged_picture", "subscriber_stopped"}
    | {"control_garbage", "control_flood", "endpoint_flood", "endpoint_held", "all_at_once"}
)

if __name__ == "__main__":
    sys.exit(main())
