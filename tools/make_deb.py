"""Build the Debian package: `python -m tools.make_deb [amd64] [arm64]`; docs/operations.md.

It holds wheels of npud and of what it needs, for each of the Python versions.  The one for arm64
is cross-compiled with Debian's gcc-aarch64-linux-gnu and this machine's headers of that Python:
CPython's pyconfig.h is the same on 64-bit Linux but for the x87.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.make_man import page

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11")  # the RDK X5's image (Ubuntu 22.04), Debian 12's
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = (17, 26, 27, 28, 31)  # manylinux_2_N that both images run
SOURCES = ("npud", "postprocess", "runtime", "native", "pyproject.toml", "setup.py")
SOURCES += ("README.md", "LICENSE", "MANIFEST.in")
INSTALLER = ROOT / "deploy/install.sh"
PLACES = {
    "deploy/install.sh": "usr/lib/npud/install.sh",
    "deploy/npud.service": "usr/lib/systemd/system/npud.service",
    "deploy/npud@.service": "usr/lib/systemd/system/npud@.service",
    "deploy/npud.sysusers": "usr/lib/sysusers.d/npud.conf",
    "deploy/60-npud.rules": "usr/lib/udev/rules.d/60-npud.rules",
    "deploy/config.toml": "etc/npud/config.toml",
    "deploy/debian/copyright": "usr/share/doc/npud/copyright",
    **{
        f"deploy/{n}.toml": f"usr/share/doc/npud/examples/{n}.toml"
        for n in ("npud", "rk3588", "rdkx5")
    },
}


def main() -> None:
    """Build what the command line asks for, into dist/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arch", nargs="*", help="amd64, arm64  [both]")
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, help="[%(default)s]")
    parser.add_argument("--version", default="", help="another version, to test an upgrade")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    given = parser.parse_args()
    for arch in given.arch or MACHINES:
        if arch not in MACHINES:
            parser.error(f"expected {' or '.join(MACHINES)}, got {arch}")
        print(build(arch, given.pythons, given.version, given.out))


def build(arch: str, pythons: list[str], version: str, out: Path) -> Path:
    """One package; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="npud-deb-") as folder:
        tree, root = Path(folder) / "tree", Path(folder) / "root"
        version = copy_sources(tree, version)
        wheels = root / "usr/lib/npud/wheels"
        wheels.mkdir(parents=True)
        for python in pythons:
            print(f"make_deb: {arch}, Python {python}: wheels", file=sys.stderr)
            collect(tree, wheels, python, MACHINES[arch])
        furnish(root, version, arch, pythons)
        path = out / f"npud_{version}_{arch}.deb"
        call(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), str(path)])
    return path


def copy_sources(tree: Path, version: str) -> str:
    """What a wheel is built from, without this machine's build; returns the version."""
    tree.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy(source, tree / name)
    stated = tree / "npud/_version.py"
    if version:
        stated.write_text(f'"""Another version."""\n\n__version__ = "{version}"\n')
    return stated.read_text().rpartition(" = ")[2].strip().strip('"')


def collect(tree: Path, wheels: Path, python: str, machine: str) -> None:
    """Build npud's wheel, and download those that it needs."""
    run = interpreter(python)
    tag = f"cp{python.replace('.', '')}"
    cross = {}
    if machine != os.uname().machine:
        gcc = f"{machine}-linux-gnu-gcc"
        if not shutil.which(gcc):
            sys.exit(f"make_deb: no {gcc}: apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
        cross = {
            "CC": gcc,
            "LDSHARED": f"{gcc} -shared",
            "CFLAGS": "-fPIC",
            "SETUPTOOLS_EXT_SUFFIX": f".cpython-{tag[2:]}-{machine}-linux-gnu.so",
            "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
        }
    pip = [run, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    shutil.rmtree(tree / "build", ignore_errors=True)
    call([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(tree)], cross)
    (own,) = wheels.glob(f"npud-*-{tag}-*.whl")
    if cross:
        own = own.rename(
            own.with_name(own.name.replace(f"linux_{os.uname().machine}", f"linux_{machine}"))
        )
    platforms = [f"manylinux_2_{n}_{machine}" for n in GLIBC]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    wanted = [f"--platform={name}" for name in platforms]
    wanted += [f"--abi={abi}" for abi in (tag, "abi3", "none")]
    wanted += [f"--python-version={python}", "--implementation=cp", "--only-binary=:all:"]
    wanted += ["--constraint", str(ROOT / "tests/constraints-rdk.txt")]  # one NumPy on all boards
    extras = re.findall(r"^prefix=.* extras=(\S+)", INSTALLER.read_text(), re.MULTILINE)[0]
    call([*pip, "download", *wanted, "--dest", str(wheels), f"{own}[{extras}]"])


def interpreter(python: str) -> str:
    """A Python of this version that really runs (a version manager's shim may not)."""
    managed = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python{python}"))
    for path in (shutil.which(f"python{python}"), *map(str, managed)):
        check = [path, "-c", "import pip, sys; print(sys.executable)"]
        if path and not subprocess.run(check, capture_output=True, check=False).returncode:
            return path
    sys.exit(f"make_deb: no python{python} with pip and headers here; or --pythons without it")


def furnish(root: Path, version: str, arch: str, pythons: list[str]) -> None:
    """Everything but the wheels."""
    for source, place in PLACES.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, target)
    packed(root / "usr/share/man/man1/npud.1.gz", page())
    packed(root / "usr/share/doc/npud/changelog.gz", (ROOT / "CHANGELOG.md").read_text())
    link = root / "usr/bin/npud"
    link.parent.mkdir(parents=True)
    link.symlink_to("/opt/npud/current/bin/npud")
    control = root / "DEBIAN"
    shutil.copytree(ROOT / "deploy/debian", control, ignore=shutil.ignore_patterns("copyright"))
    kib = sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) // 1024
    minors = sorted(int(python.partition(".")[2]) for python in pythons)
    facts = {"first": f"3.{minors[0]}", "after": f"3.{minors[-1] + 1}~"}
    text = (control / "control").read_text()
    (control / "control").write_text(text.format(version=version, arch=arch, kib=kib, **facts))
    for path in root.rglob("*"):
        if not path.is_symlink():
            runs = (
                path.is_dir()
                or path.suffix == ".sh"
                or path.name in ("postinst", "prerm", "postrm")
            )
            path.chmod(0o755 if runs else 0o644)
    root.chmod(0o755)


def packed(path: Path, text: str) -> None:
    """A gzip file that is the same whenever it is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def call(command: list[str], extra: dict[str, str] | None = None) -> None:
    """Run a command, or end with what it said."""
    done = subprocess.run(
        command,
        env={**os.environ, **(extra or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-12:])
        sys.exit(f"make_deb: failed ({done.returncode}): {' '.join(command[:6])} …\n{tail}")


if __name__ == "__main__":
    main()
