"""The daemon and its commands, read top to bottom along the data path."""
