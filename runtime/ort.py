"""onnxruntime, which is to keep to itself what it is used for: `from runtime.ort import ort`.

Its official builds (1.31 was seen) write usage data to ~/.cache/Microsoft and send it to Microsoft
unless ORT_DISABLE_TELEMETRY is set before they are imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["ort"]
