"""Generated street scenes with known truth: what the built-in camera shows without hardware."""

from runtime.scenes.street import FPS, LABELS, Street, Truth

__all__ = ["FPS", "LABELS", "Street", "Truth"]
