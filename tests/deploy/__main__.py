"""Install, run, break, upgrade, roll back and purge: each line is a check that held.

`python -m tests.deploy [--deb FILE --newer FILE] [--restarts 50]`; needs root.  Packages that are not
given are built.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deploy.machine import Machine, MachineError, booted
from tools import make_deb

NEWER = "99.0.0"
WAIT_S = 240
DROP_IN = "/run/systemd/system/npud.service.d/test.conf"
FAULTY = """
[backend]
name = "runtime.testing:FaultyBackend"
isolation = "process"
threads = 1
deadline_ms = {deadline_ms}
[camera.street]
url = "synthetic:street?seed=2&size=320x240&fps=10"
[publish]
endpoint = "ipc:///run/npud/detections"
[record]
enabled = true
seconds = 5
"""


class Scenario:
    """What is done with one machine."""

    def __init__(self, machine: Machine, old: Path, new: Path, restarts: int) -> None:
        self.machine, self.old, self.new, self.restarts = machine, old, new, restarts
        for path in (old, new):
            shutil.copy(path, machine.root / "root")

    def run(self, only: list[str]) -> None:
        """All of it, in order, or installs() and these steps."""
        for step in (
            self.installs,
            self.starts,
            self.is_confined,
            self.reloads,
            self.refuses_a_mistake,
            self.survives_its_worker,
            self.is_restarted_when_it_hangs,
            self.detects_without_a_disk,
            self.leaves_nothing,
            self.several_instances,
            self.upgrades,
            self.is_removed,
            self.works_without_the_package,
        ):
            if only and step.__name__ not in ("installs", *only):
                continue
            begin = time.monotonic()
            step()
            print(f"  {step.__name__}: {time.monotonic() - begin:.0f} s", flush=True)

    def installs(self) -> None:
        sh = self.machine.run
        sh(f"dpkg -i /root/{self.old.name}", timeout_s=1800)
        told("npud --version", sh("npud --version"))
        told("man page", sh("zcat /usr/share/man/man1/npud.1.gz | grep -c 'Usage: npud'"))
        told("not started by itself", sh("systemctl is-active npud", check=False))
        expect(sh("systemctl is-enabled npud", check=False) == "disabled", "not enabled")
        expect({"video", "render"} <= set(sh("id -nG npud").split()), "user npud and its groups")
        made = sh("readlink /opt/npud/current")
        sh("dpkg-reconfigure npud")
        expect(sh("readlink /opt/npud/current") == made, "configured twice: nothing new")

    def starts(self) -> None:
        begin = time.monotonic()
        self.machine.run("systemctl start npud")
        status = self.status()
        expect(status["cameras"][0]["published"] > 0, "systemctl start returns after detections")
        told("ready after", f"{time.monotonic() - begin:.1f} s")
        self.until(lambda: "street ok" in self.show("StatusText"), "systemctl status shows cameras")
        told("StatusText", self.show("StatusText"))
        begin = time.monotonic()
        self.machine.run("systemctl stop npud")
        told("stopped after", f"{time.monotonic() - begin:.1f} s")
        expect(self.show("Result") == "success", "SIGTERM was enough")
        self.machine.run("systemctl start npud")

    def is_confined(self) -> None:
        pid = self.show("MainPID")
        facts = dict(
            line.split(":", 1) for line in self.machine.run(f"cat /proc/{pid}/status").splitlines()
        )
        seen = {name: facts[name].strip() for name in ("CapEff", "NoNewPrivs", "Seccomp")}
        told("process", seen)
        expect(seen == {"CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}, "confined")
        expect(facts["Uid"].split()[0] == self.machine.run("id -u npud"), "runs as npud")
        self.drop_in("MemoryDenyWriteExecute=yes")
        self.machine.run("systemctl restart npud")
        expect(self.published() > 0, "backend onnx: with MemoryDenyWriteExecute as well")
        self.machine.run(f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart npud")
        told("systemd-analyze", self.machine.run("systemd-analyze security npud | tail -1"))

    def reloads(self) -> None:
        sh = self.machine.run
        sh("echo '# edited' >> /etc/npud/config.toml")
        sh("sed -i 's/camera.street/camera.gate/' /etc/npud/config.toml && systemctl reload npud")
        expect(self.status()["cameras"][0]["camera"] == "gate", "systemctl reload: another camera")
        sh("sed -i 's/camera.gate/camra.gate/' /etc/npud/config.toml")
        expect(self.machine.code("systemctl reload npud") != 0, "a mistake fails the reload")
        expect(self.status()["cameras"][0]["camera"] == "gate", "and nothing has changed")
        sh("sed -i 's/camra.gate/camera.street/' /etc/npud/config.toml && systemctl reload npud")

    def refuses_a_mistake(self) -> None:
        sh = self.machine.run
        self.configure("[modle]\n")
        expect(self.machine.code("systemctl restart npud") != 0, "a mistake: not started")
        expect(self.show("ExecMainStatus") == "2", "exit code 2")
        time.sleep(4)
        expect(self.show("ActiveState") == "failed", "and not tried again")
        told("journal", sh("journalctl -u npud -o cat | grep 'npud: error' | tail -1"))
        sh("systemctl reset-failed npud")

    def survives_its_worker(self) -> None:
        self.configure(FAULTY.format(deadline_ms=2000))
        self.drop_in("Environment=NPUD_FAULT_FILE=/run/npud/fault")
        self.machine.run("systemctl restart npud")
        main = self.show("MainPID")
        for number in range(3):
            published = self.published()
            self.machine.run(f"kill -9 {self.status()['workers'][0]['pid']}")
            self.until(
                lambda n=number, p=published: (
                    self.status()["workers"][0]["restarts"] > n and self.published() > p
                ),
                "worker killed: another one",
            )
        self.machine.run(
            "echo hang > /run/npud/f && chmod 666 /run/npud/f && mv /run/npud/f /run/npud/fault"
        )
        self.until(lambda: self.status()["workers"][0]["restarts"] > 3, "worker hung: another one")
        expect(self.show("MainPID") == main, "the daemon is the same")
        expect(self.show("NRestarts") == "0", "and was not restarted")

    def is_restarted_when_it_hangs(self) -> None:
        self.configure(FAULTY.format(deadline_ms=3_600_000))
        self.drop_in("Environment=NPUD_FAULT_FILE=/run/npud/fault", "WatchdogSec=6s")
        self.machine.run("systemctl restart npud")
        main = self.show("MainPID")
        self.machine.run(
            "echo hang > /run/npud/f && chmod 666 /run/npud/f && mv /run/npud/f /run/npud/fault"
        )
        self.until(lambda: self.show("NRestarts") == "1", "hung: the watchdog acts")
        self.until(lambda: self.show("ActiveState") == "active", "and npud is ready again")
        expect(self.show("MainPID") != main, "another process")
        log = self.machine.run("journalctl -u npud -o cat")
        expect("Watchdog timeout" in log, "the journal says so")
        expect("none is published: not fed" in log, "and npud said it before")
        expect("most recent call first" in log, "with what each thread was doing")
        expect(self.published() > 0, "detections")

    def detects_without_a_disk(self) -> None:
        sh = self.machine.run
        self.configure(FAULTY.format(deadline_ms=2000))
        sh("systemctl stop npud && mount -t tmpfs -o size=16k tmpfs /var/lib/npud")
        sh("systemctl start npud")
        self.goes_on("disk full", "No space left on device")
        sh("systemctl stop npud; mount -o remount,ro /var/lib/npud; systemctl start npud")
        self.goes_on("read-only /var/lib/npud", "Read-only file system")
        sh("systemctl stop npud; umount /var/lib/npud; systemctl start npud")

    def leaves_nothing(self) -> None:
        sh = self.machine.run
        sh(f"rm -f {DROP_IN}; systemctl daemon-reload; systemctl restart npud")
        self.machine.run("systemctl reset-failed npud", check=False)
        before = self.traces()
        for number in range(self.restarts):
            self.restart(number)
        after = self.traces()
        told(f"after {self.restarts} restarts, two thirds of them kill -9", after)
        expect(after == before, f"as after the first start: {before}")
        sh("systemctl stop npud")
        expect(self.machine.code("test -e /run/npud") == 1, "stopped: /run/npud is gone")
        expect(sh("pgrep -u npud | wc -l", check=False) == "0", "and every process")
        files = sh("find /dev/shm /tmp /var/lib/npud -type f -user npud ! -name '*.mcap'")
        expect(files == "", f"and every file but recordings {files}")

    def restart(self, number: int) -> None:
        """In order: as one should, killed at work, killed while it starts."""
        main = self.show("MainPID")
        how = (
            "systemctl restart npud",
            f"sleep 0.{number % 10}; kill -9 {main}",
            f"systemctl restart --no-block npud; sleep 0.{number % 10}5; "
            "kill -9 $(systemctl show -P MainPID npud)",
        )
        self.machine.run(how[number % 3], check=number % 3 != 2)
        self.until(
            lambda: (
                self.show("MainPID") not in (main, "0") and self.show("ActiveState") == "active"
            ),
            "",
        )

    def several_instances(self) -> None:
        sh = self.machine.run
        for port, name in enumerate(("front", "back"), 9110):
            own = f"s|/run/npud/|/run/npud-{name}/|; s|:9109|:{port}|"
            sh(f"sed '{own}' /etc/npud/config.toml > /etc/npud/{name}.toml")
        sh("systemctl start npud@front npud@back")
        sh("systemctl stop npud@front")
        expect(
            "street ok" in self.until_text("systemctl show -P StatusText npud@back", "street ok"),
            "npud@front has ended, npud@back goes on",
        )
        sh("systemctl stop npud@back; systemctl start npud")

    def upgrades(self) -> None:
        sh = self.machine.run
        config = sh("sha256sum /etc/npud/config.toml")
        main, before = self.show("MainPID"), self.status()["npud"]
        sh(f"dpkg --force-confdef --force-confold -i /root/{self.new.name}", timeout_s=1800)
        expect(self.show("MainPID") != main, "upgraded: restarted")
        expect(self.status()["npud"] == NEWER, f"{before} -> {NEWER}")
        expect(sh("sha256sum /etc/npud/config.toml") == config, "the configuration is the same")
        sh("/usr/lib/npud/install.sh --rollback")
        expect(self.status()["npud"] == before, f"rolled back: {before} runs")
        sh("/usr/lib/npud/install.sh --rollback")
        expect(self.status()["npud"] == NEWER, f"and forth: {NEWER}")
        sh(f"dpkg --force-confold -i /root/{self.old.name}", timeout_s=1800)
        expect(self.status()["npud"] == before, "a downgrade by dpkg as well")
        kept = int(sh("ls /opt/npud/versions | wc -l"))
        expect(kept == 2, "two environments are kept")

    def is_removed(self) -> None:
        sh = self.machine.run
        sh("dpkg -r npud")
        expect(sh("pgrep -u npud | wc -l", check=False) == "0", "removed: stopped")
        expect(
            self.machine.code("test -e /opt/npud || test -e /usr/bin/npud") == 1, "nothing of it"
        )
        expect(self.machine.code("test -e /etc/npud/config.toml") == 0, "but its configuration")
        expect(self.machine.code("test -d /var/lib/npud/models") == 0, "and models")
        sh("dpkg -P npud")
        expect(self.machine.code("test -e /etc/npud || test -e /var/lib/npud") == 1, "purged: all")
        expect(self.machine.code("id npud") != 0, "and the user")

    def works_without_the_package(self) -> None:
        sh = self.machine.run
        sh(f"dpkg-deb -x /root/{self.old.name} /root/unpacked")
        shutil.copytree(make_deb.ROOT / "deploy", self.machine.root / "root/npud/deploy")
        install = "/root/npud/deploy/install.sh"
        wheels = "--wheels /root/unpacked/usr/lib/npud/wheels"
        expect(self.machine.code(f"{install} --rollback") == 1, "nothing to roll back to")
        expect(self.machine.code(f"timeout -s KILL 4 {install} {wheels}") == 137, "killed midway")
        expect(self.machine.code("test -e /opt/npud/current") == 1, "nothing is in use")
        sh(f"flock /opt/npud/.lock {install} --help && {install} {wheels}", timeout_s=1800)
        sh("echo '# mine' >> /etc/npud/config.toml && systemctl enable --now npud")
        main, config = self.show("MainPID"), sh("cat /etc/npud/config.toml")
        sh(f"{install} {wheels}")
        expect(self.show("MainPID") == main, "installed twice: not restarted")
        expect(sh("cat /etc/npud/config.toml") == config, "and the configuration is the same")
        expect(self.published() > 0, "install.sh: detections")
        sh(f"{install} --uninstall")
        left = sh("find /opt /usr/local/bin /etc/systemd/system /etc/udev -name '*npud*'")
        expect(left == "", f"uninstalled: nothing of it {left}")
        expect(sh("pgrep -u npud | wc -l", check=False) == "0", "and no process")
        expect(self.machine.code("test -e /etc/npud/config.toml") == 0, "but its configuration")
        sh(f"{install} --uninstall --purge")
        expect(self.machine.code("test -e /etc/npud || id npud") == 1, "purged: all, and the user")

    def recording(self) -> str:
        return self.machine.run("npud record --last 5s 2>&1", check=False)

    def goes_on(self, when: str, why: str) -> None:
        self.until(lambda: self.status()["recording"]["frames"] > 0, "")
        said = self.recording()
        expect(why in said and "\n" not in said, f"{when}: npud record fails: {said}")
        published = self.published()
        self.until(lambda: self.published() > published, f"{when}: detections go on")
        expect(self.show("NRestarts") == "0", f"{when}: not restarted")

    def configure(self, text: str) -> None:
        (self.machine.root / "etc/npud/config.toml").write_text(text)

    def drop_in(self, *lines: str) -> None:
        text = "\\n".join(("[Service]", *lines))
        self.machine.run(f"mkdir -p {Path(DROP_IN).parent} && printf '{text}\\n' > {DROP_IN}")
        self.machine.run("systemctl daemon-reload")

    def show(self, name: str) -> str:
        return self.machine.run(f"systemctl show -P {name} npud")

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.machine.run("npud status --json"))
        return answer

    def published(self) -> int:
        return int(self.status()["cameras"][0]["published"])

    def traces(self) -> dict[str, int]:
        """What a process that was killed could leave behind, counted."""
        sh = self.machine.run
        counts = {
            "files in /run/npud": "ls -A /run/npud | wc -l",
            "files in /dev/shm and /tmp": "find /dev/shm /tmp -type f | wc -l",
            "processes": "pgrep -u npud | wc -l",
            "System V and POSIX objects": "tail -qn +2 /proc/sysvipc/* | wc -l",
            "Unix sockets of npud": "grep -c /run/npud /proc/net/unix",
        }
        return {what: int(sh(command, check=False)) for what, command in counts.items()}

    def until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                if done():
                    break
            except MachineError:
                pass  # not there yet
            if time.monotonic() > end:
                raise MachineError(f"not within {WAIT_S} s: {what}\n{self.journal()}")
            time.sleep(0.3)
        if what:
            told(what)

    def until_text(self, command: str, text: str) -> str:
        self.until(lambda: text in self.machine.run(command), "")
        return self.machine.run(command)

    def journal(self) -> str:
        return self.machine.run("journalctl -u npud -o cat | tail -30", check=False)


def told(what: str, value: object = "") -> None:
    print(f"ok  {what}" + (f": {value}" if value != "" else ""), flush=True)


def expect(held: bool, what: str) -> None:
    if not held:
        raise MachineError(f"NOT {what}")
    told(what)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deb", type=Path)
    parser.add_argument("--newer", type=Path)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npud-deb-") as folder:
        pythons = ["3.11"]  # the machine's
        old = given.deb or make_deb.build("amd64", pythons, "", Path(folder))
        new = given.newer or make_deb.build("amd64", pythons, NEWER, Path(folder))
        try:
            with booted() as machine:
                scenario = Scenario(machine, old, new, given.restarts)
                try:
                    scenario.run(given.only)
                except MachineError as error:
                    print(f"{error}\n{scenario.journal()}", file=sys.stderr)
                    return 1
        except MachineError as error:
            print(f"tests.deploy: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
