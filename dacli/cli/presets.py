"""The presets of dacli itself: what programs expect of depth. docs/outputs.md says why, with sources."""

from collections.abc import Mapping

BUILT_IN_PRESETS: Mapping[str, Mapping[str, str | bool]] = {
    "nuke": {"save": "exr", "exr-z": "1/z", "frames": True},
    "aftereffects": {"save": "exr,png16", "near": "black", "frames": True},
    "blender": {"save": "exr,png16", "frames": True},
    "comfyui": {"save": "gray", "near": "white", "range": "p1,p99"},
    "controlnet": {"save": "gray", "near": "white"},
}
