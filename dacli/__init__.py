"""Batch depth for pictures, folders and clips with Depth Anything V2."""

__version__ = "0.1.0"
