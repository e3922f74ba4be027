"""Losses, data and loop that train the networks, and their export to model folders."""
