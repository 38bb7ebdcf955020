"""What npud's claims of speed rest on; run from the repository, e.g. `make bench`."""
