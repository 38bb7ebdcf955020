"""A/B: two variants of one model on the same frames, and what the difference is (docs/ab.md)."""
