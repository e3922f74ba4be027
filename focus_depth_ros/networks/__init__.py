"""Torch modules of the focus-depth networks, one idea a file."""
