"""The contract that every backend keeps, on this machine or on the emulated board."""
