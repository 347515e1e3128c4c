"""Builds the container images of this repository without a container registry; see `python -m images --help`."""
