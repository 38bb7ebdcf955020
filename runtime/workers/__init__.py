"""Inference in processes of its own: what a vendor's library does there cannot hurt the daemon."""
