"""The embedded model: a small street-scene detector, trained on generated scenes."""

from pathlib import Path

MODEL = Path(__file__).with_name("street.onnx")
