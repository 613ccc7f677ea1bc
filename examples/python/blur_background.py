"""Blur what is farther away than the subject of a photo, like a lens that is wide open.

python blur_background.py photo.jpg blurred.jpg [--model vits] [--focus 0.7] [--strength 12]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

import dacli

LEVELS = 6  # blurred copies of the photo, between which each pixel is interpolated


def main() -> None:
    """Read the options, and write the blurred photo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="tiny", help="a name of dacli.available_models(); tiny needs no download")
    parser.add_argument("--focus", type=float, default=0.7, help="what stays sharp: from this nearness (0 … 1) on")
    parser.add_argument(
        "--strength", type=float, default=12, help="radius of the blur of the farthest point, in pixels"
    )
    options = parser.parse_args()
    result = dacli.load(options.model)(options.photo)
    nearness = result.gray(near="white").astype(np.float32) / 255
    blurred = blur_background(np.asarray(result.image), nearness, options.focus, options.strength)
    Image.fromarray(blurred).save(options.output)


def blur_background(
    rgb: npt.NDArray[np.uint8], nearness: npt.NDArray[np.float32], focus: float, strength: float
) -> npt.NDArray[np.uint8]:
    """Return the photo [H, W, 3], sharp where nearness [H, W] (0 far, 1 near) is at least `focus`.

    `strength` is the standard deviation of the blur at nearness 0, in pixels.
    """
    distance = np.clip((focus - nearness) / focus, 0, 1) * (LEVELS - 1)
    pixels, behind = rgb.astype(np.float32), np.clip(distance, 0, 1)  # the sharp subject does not bleed into the blur
    blurred = pixels.copy()
    for level in range(1, LEVELS):
        sigma = strength * level / (LEVELS - 1)
        weight = cv2.GaussianBlur(behind, (0, 0), sigma)[..., None] + 1e-6
        layer = cv2.GaussianBlur(pixels * behind[..., None], (0, 0), sigma) / weight
        blurred += np.clip(distance - (level - 1), 0, 1)[..., None] * (layer - blurred)
    return np.rint(np.clip(blurred, 0, 255)).astype(np.uint8)


if __name__ == "__main__":
    main()
