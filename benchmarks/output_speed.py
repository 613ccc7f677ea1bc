"""The time of one core for each kind of output of a picture: python -m benchmarks.output_speed prints the table."""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from dacli.batch.fingerprint import Fingerprint
from dacli.batch.opening import open_run
from dacli.batch.options import RunOptions
from dacli.batch.views import calibrate_prediction, view_prediction
from dacli.callbacks import ignore_download, ignore_log
from dacli.io import images
from dacli.io.camera import ANY_CAMERA, find_camera
from dacli.outputs.calibration import Calibration
from dacli.outputs.export import ExportOptions
from dacli.outputs.formats import FORMATS, offered_formats
from dacli.outputs.view import DepthView

WIDTH, HEIGHT = 1800, 1200
ROUNDS = 7


def view_of_photo(photo: Path) -> DepthView:
    """Return the view of a photo of 2.2 megapixels by the bundled model, from 1 to 20 m."""
    rgb = np.asarray(cv2.resize(images.read_image(photo), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
    options = RunOptions(
        encoder="tiny",
        devices=("cpu",),
        engine="torch",
        calibration=Calibration(near_far=(1.0, 20.0)),
        export=ExportOptions(max_points=WIDTH * HEIGHT),
    )
    predictor, settings = open_run(options, 1, ignore_log, ignore_download)
    prediction, fit = calibrate_prediction(predictor.predict([rgb])[0], settings)
    return view_prediction(
        prediction,
        settings,
        source=photo.name,
        fingerprint=Fingerprint(""),
        camera=find_camera(ANY_CAMERA, WIDTH, HEIGHT),
        calibration=fit,
        image=rgb,
    )


def measure_kind(view: DepthView, kind: str) -> tuple[float, float]:
    """Return the median milliseconds of processor time for a file of a kind, and its megabytes."""
    seconds, size = [], 0
    for _ in range(ROUNDS):
        started = time.process_time()
        size = len(FORMATS[kind].encode(view))
        seconds.append(time.process_time() - started)
    return sorted(seconds)[ROUNDS // 2] * 1000, size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.output_speed", description=__doc__)
    parser.add_argument("photo", type=Path, help="a photo; it is resized to 1800 x 1200 pixels")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    view = view_of_photo(arguments.photo)
    print("| kind | ms | times png16 | MB |\n|---|---|---|---|")  # noqa: T201
    base, _ = measure_kind(view, "png16")
    for kind in offered_formats():
        milliseconds, megabytes = measure_kind(view, kind)
        print(f"| {kind} | {milliseconds:.0f} | {milliseconds / base:.1f} | {megabytes:.1f} |")  # noqa: T201


if __name__ == "__main__":
    main()
