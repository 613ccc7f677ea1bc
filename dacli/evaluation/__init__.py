"""Metrics, data sets with depth, sweeps, comparison and temporal measures."""
