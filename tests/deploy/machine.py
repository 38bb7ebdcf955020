"""A clean Debian: unpacked once, and run in namespaces with its own systemd, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.board.machine import cache_folder

HERE = Path(__file__).resolve().parent
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "systemd,systemd-sysv,dbus,udev,procps,python3,python3-venv,libgl1,libglib2.0-0"
TOOLS = {"debootstrap": "debootstrap", "unshare": "util-linux", "nsenter": "util-linux"}
BOOT_S = 120
NATIVE = "amd64"
REMEDY = "apt install qemu-user-static binfmt-support"


class MachineError(Exception):
    """There can be none here; or a command in it failed."""


@dataclass
class Machine:
    """One to run commands in; `root` is its file system, `enter` what runs a command there."""

    root: Path
    enter: tuple[str, ...]

    def run(self, command: str, *, check: bool = True, timeout_s: float = 600) -> str:
        """Run a shell command in it; returns what it printed.  Raises MachineError."""
        done = subprocess.run(
            [*self.enter, "/bin/sh", "-c", command],
            env={
                "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "DEBIAN_FRONTEND": "noninteractive",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise MachineError(f"failed ({done.returncode}): {command}\n{done.stdout[-3000:]}")
        return done.stdout.strip()

    def code(self, command: str) -> int:
        """Exit code of a shell command in it."""
        return int(self.run(f"{{ {command} ; }} >/dev/null 2>&1; echo $?", check=False))


def unpacked(arch: str) -> Path:
    """The clean file system, from the cache.  Raises MachineError where it cannot be made."""
    if os.geteuid():
        raise MachineError("only root can make one")
    if missing := [package for tool, package in TOOLS.items() if not shutil.which(tool)]:
        raise MachineError(f"missing: apt install {' '.join(missing)}")
    root = cache_folder().with_name("npud-deploy") / f"{SUITE}-{arch}"
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        options = [f"--arch={arch}", "--variant=minbase", f"--include={PACKAGES}"]
        done = subprocess.run(
            ["debootstrap", *options, SUITE, str(root), MIRROR],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            hint = "" if arch == NATIVE else f" (can this kernel run {arch}? {REMEDY})"
            raise MachineError(
                f"debootstrap failed{hint}: {done.stdout[-500:]}{done.stderr[-500:]}"
            )
        (root / "complete").touch()
    return root


@contextmanager
def booted() -> Iterator[Machine]:
    """A machine with systemd as PID 1, on a copy that is thrown away."""
    with _copy(unpacked(NATIVE)) as root:
        spaces = ["--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--kill-child"]
        boot = subprocess.Popen(["unshare", "--fork", *spaces, str(HERE / "boot.sh"), str(root)])
        try:
            yield _ready(boot, root)
        finally:
            boot.kill()
            boot.wait()


@contextmanager
def emulated(arch: str) -> Iterator[Machine]:
    """A file system of another architecture, without an init: each command is alone.

    Raises MachineError where the kernel cannot run its programs.
    """
    spaces = ("unshare", "--fork", "--pid", "--mount", "--net", "--kill-child")
    mounts = 'ip link set lo up; mount --bind /dev "$0/dev"; mount -t proc proc "$0/proc"; exec chroot "$0" "$@"'
    with _copy(unpacked(arch)) as root:
        machine = Machine(root, (*spaces, "/bin/sh", "-c", mounts, str(root)))
        if machine.code("true"):
            raise MachineError(f"cannot run {arch}: {REMEDY}")
        yield machine


@contextmanager
def _copy(base: Path) -> Iterator[Path]:
    """The file system, to be changed and thrown away."""
    with tempfile.TemporaryDirectory(prefix="npud-deploy-") as folder:
        upper, work, root = (Path(folder) / name for name in ("upper", "work", "root"))
        for path in (upper, work, root):
            path.mkdir()
        layers = f"lowerdir={base},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", "--lazy", str(root)], check=True)


def _ready(boot: subprocess.Popen[bytes], root: Path) -> Machine:
    """Wait until its systemd has started everything."""
    children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children")
    end = time.monotonic() + BOOT_S
    while time.monotonic() < end and boot.poll() is None:
        if first := children.read_text().split():
            machine = Machine(root, ("nsenter", "-t", first[0], "-a"))
            state = machine.run("systemctl is-system-running", check=False)
            if state in ("running", "degraded"):
                return machine
        time.sleep(0.5)
    raise MachineError("systemd does not start in namespaces here")
