"""Depth from Python: load a model once, then take the depth of pictures, folders and clips."""

from dacli.api.depth import Depth, available_models, load
from dacli.api.depth_map import DepthMap
from dacli.api.runs import ClipOutputs, process_folder, process_video

__all__ = ["ClipOutputs", "Depth", "DepthMap", "available_models", "load", "process_folder", "process_video"]
