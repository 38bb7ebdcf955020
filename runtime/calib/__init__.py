"""Calibration sets: what quantization ranges are measured on, and what is wrong with it."""
