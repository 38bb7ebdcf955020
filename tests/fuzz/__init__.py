"""Fuzzers: `python -m tests.fuzz` runs those of the post-processing, fuzz_models.py the readers."""
