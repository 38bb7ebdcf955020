"""Graph surgery: cut a model's post-processing off, so that a board's toolchain gets raw heads."""
