"""The soak: a real daemon, four cameras, subscribers of all kinds, and faults at random."""
