"""Drafting a manifest: what the file says, what somebody has to answer, and the text of it."""
