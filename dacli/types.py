"""The array types and literals that the whole package shares."""

import numpy as np
import numpy.typing as npt

DepthArray = npt.NDArray[np.float32]  # [H, W], in the unit of its quantity
FloatArray = npt.NDArray[np.floating]
ImageArray = npt.NDArray[np.uint8 | np.uint16]  # RGB [H, W, 3]
Image8 = npt.NDArray[np.uint8]  # RGB [H, W, 3]
Gray8 = npt.NDArray[np.uint8]  # [H, W]
Gray16 = npt.NDArray[np.uint16]  # [H, W]
PixelMask = npt.NDArray[np.bool_]  # [H, W]
