"""Engines that run a model's graphs, and the model folder they come from."""
