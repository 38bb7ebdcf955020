"""Recordings: what a model was shown, what it answered, what was published (docs/recordings.md)."""
