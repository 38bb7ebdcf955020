"""The arm64 package in a clean Debian under qemu-user: `python -m tests.deploy.emulated [--deb FILE]`.

No systemd there: installed, run as its user for some seconds, configured again, removed, purged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.deploy.__main__ import expect, told
from tests.deploy.machine import Machine, MachineError, emulated
from tools import make_deb

SLOW_S = 3600
RUN = """
install -d -o npud /run/npud
setpriv --reuid=npud --regid=npud --init-groups npud run --config /etc/npud/config.toml &
for _ in $(seq 120); do npud status --json > /tmp/status 2>/dev/null && break; sleep 1; done
sleep 5
npud status --json > /tmp/status
kill $!
wait $! && echo "it ended with 0"  # during an inference of seconds, which is not waited for
"""


def check(machine: Machine, deb: Path) -> None:
    """Install, run, configure again, purge."""
    sh = machine.run
    (machine.root / "root" / deb.name).write_bytes(deb.read_bytes())
    told("machine", sh("uname -m; python3 --version"))
    sh(f"dpkg -i /root/{deb.name}", timeout_s=SLOW_S)
    told("npud --version", sh("npud --version"))
    told(
        "kernels", sh("/opt/npud/current/bin/python -c 'import postprocess._native as n; print(n)'")
    )
    said = sh(RUN, timeout_s=SLOW_S)
    expect("golden sample: ok" in said, "the golden sample is found")
    expect("it ended with 0" in said, "SIGTERM during an inference of seconds: exit code 0")
    status = json.loads((machine.root / "tmp/status").read_text())
    camera = status["cameras"][0]
    expect(camera["published"] > 0, f"npud run: {camera['published']} messages, {camera['state']}")
    sh("echo '# mine' >> /etc/npud/config.toml")
    sh(f"dpkg --force-confold -i /root/{deb.name}", timeout_s=SLOW_S)
    expect(
        "# mine" in sh("cat /etc/npud/config.toml"), "installed again: the configuration is kept"
    )
    sh("dpkg -r npud")
    expect(machine.code("test -e /opt/npud") == 1, "removed")
    expect(machine.code("test -e /etc/npud/config.toml") == 0, "but its configuration")
    sh("dpkg -P npud")
    expect(machine.code("test -e /etc/npud || id npud") == 1, "purged: all, and the user")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deb", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npud-deb-") as folder:
        try:
            deb = given.deb or make_deb.build("arm64", ["3.11"], "", Path(folder))
            with emulated("arm64") as machine:
                check(machine, deb)
        except MachineError as error:
            print(f"tests.deploy.emulated: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
