"""Depth from Python: load a model once, then take the depth of pictures, folders and clips."""
