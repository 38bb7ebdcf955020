"""The vendors' host toolkits, each in an environment of its own, driven through a subprocess."""
