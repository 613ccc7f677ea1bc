"""Filters of pictures before the network, and of depth between the network and the outputs."""
