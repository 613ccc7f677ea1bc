"""The words that options and results may hold, in types that load nothing."""

from typing import Literal

Quantity = Literal["inverse depth", "metres", "depth"]  # the last of no fixed scale, near = small
Near = Literal["white", "black"]
AlphaMode = Literal["over", "mask"]
TileMode = Literal["auto", "on", "off"]
CodecName = Literal["h264", "h265", "prores", "ffv1"]
DeinterlaceMode = Literal["auto", "on", "off", "telecine"]
SteadyMode = Literal["on", "off", "two-pass"]
EncoderName = Literal["vits", "vitb", "vitl", "vitg", "tiny"]
ModelName = Literal["v2", "v1", "indoor", "outdoor", "hypersim", "vkitti", "da3", "da3-metric"]
MetricModelName = Literal["indoor", "outdoor"]
PrecisionName = Literal["auto", "fp32", "fp16", "bf16", "int8"]
TrainingPrecision = Literal["auto", "bf16", "fp32"]
CropName = Literal["none", "garg", "eigen"]
EnsembleName = Literal["flip", "sizes"]
AlignmentName = Literal["none", "median", "scale", "affine"]
ExrDepth = Literal["z", "1/z"]  # what the channel Z of an EXR holds
NormalY = Literal["opengl", "directx"]  # whether green of normals is up or down
