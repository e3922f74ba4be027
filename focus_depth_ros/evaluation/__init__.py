"""Metrics, regions and benches."""
