"""Filters of a depth map, between the network and the outputs."""
