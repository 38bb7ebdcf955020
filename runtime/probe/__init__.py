"""`npud probe`: what a model gives for a picture, and why it is wrong where it is."""
