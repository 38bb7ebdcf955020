"""The package installed in a clean Debian, under a real systemd: `python -m tests.deploy`."""
