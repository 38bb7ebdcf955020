"""Passwords out of what is shown: messages, logs, status."""

from __future__ import annotations

import re

HIDDEN = "***"
# rtsp://user:password@host; up to the last @, as people do not encode one in a password
_URL = re.compile(r"(//[^\s/:@\"]*):[^\s\"]*@")
# …/live?user=a&password=b, and /user=a_password=b_channel=1 as some cameras have it
_FIELD = re.compile(r"((?:passwd|password|pwd|pass|token|secret|api_?key)=)[^&\s\"']+", re.I)


def masked(text: str) -> str:
    """The text, a URL or whatever has one in it, without passwords."""
    return _FIELD.sub(rf"\1{HIDDEN}", _URL.sub(rf"\1:{HIDDEN}@", text))


def has_password(url: str) -> bool:
    """Tell whether there is a password in a URL."""
    return masked(url) != url
