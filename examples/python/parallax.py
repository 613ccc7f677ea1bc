"""Make a loop in which the camera moves around one photo: python parallax.py photo.jpg loop.gif (or loop.mp4)."""

import argparse
import math
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

import dacli

FRAMES, FPS = 36, 18
Picture = npt.NDArray[np.uint8]  # RGB [H, W, 3]
Nearness = npt.NDArray[np.float32]  # [H, W], 0 far, 1 near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="tiny", help="a name of dacli.available_models(); tiny needs no download")
    parser.add_argument("--strength", type=float, default=0.02, help="the largest shift, as a part of the width")
    parser.add_argument("--width", type=int, default=640, help="width of the loop in pixels")
    options = parser.parse_args()
    photo = Image.open(options.photo).convert("RGB")
    photo = photo.resize((options.width // 2 * 2, round(options.width * photo.height / photo.width / 2) * 2))
    nearness = np.float32(1 / 255) * dacli.load(options.model)(photo).gray(near="white")
    angles = np.linspace(0, 2 * math.pi, FRAMES, endpoint=False)
    write_loop(options.output, [move_camera(np.asarray(photo), nearness, options.strength, angle) for angle in angles])


def move_camera(photo: Picture, nearness: Nearness, strength: float, angle: float) -> Picture:
    """Return the photo from a point of an ellipse at `angle` radians; what has nearness 0.5 stays where it is."""
    rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    right, down = (
        np.array([math.cos(angle), 0.3 * math.sin(angle)], np.float32) * 2 * strength * photo.shape[1]
    )  # pixels
    order = np.argsort(nearness, axis=None)  # the near ones last, so that they hide the far ones
    x, y = (np.rint(grid + (nearness - 0.5) * way).ravel() for grid, way in ((columns, right), (rows, down)))
    place = (y.clip(0, rows.max()) * photo.shape[1] + x.clip(0, columns.max())).astype(np.int32)[order]
    seen = np.full_like(nearness, 2)  # 2: nothing is seen there yet
    np.put(seen, place, nearness.ravel()[order])
    while seen.max() > 1:  # behind an edge, the farthest of what is around it
        seen = np.where(seen > 1, cv2.erode(seen, np.ones((3, 3), np.uint8)), seen)
    seen = np.asarray(cv2.medianBlur(seen, 5), np.float32)
    source = columns - (seen - 0.5) * right, rows - (seen - 0.5) * down
    moved = cv2.remap(photo, *source, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)
    unknown = cv2.remap(nearness, *source, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT) > seen + 0.1
    return np.asarray(
        cv2.inpaint(moved, cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8)), 3, cv2.INPAINT_TELEA),
        np.uint8,
    )


def write_loop(path: Path, frames: list[Picture]) -> None:
    """Write frames of even height and width as a GIF that repeats, or as an MP4 of three rounds."""
    if path.suffix == ".gif":
        first, *others = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=others, duration=1000 // FPS, loop=0)
        return
    writer = imageio_ffmpeg.write_frames(str(path), frames[0].shape[1::-1], fps=FPS, quality=8, macro_block_size=2)
    writer.send(None)
    for frame in frames * 3:
        writer.send(frame)
    writer.close()


if __name__ == "__main__":
    main()
