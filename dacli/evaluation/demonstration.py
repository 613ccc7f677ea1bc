"""A photo and a rendered scene through the bundled model, the scene beside its exact depth."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dacli import types
from dacli.evaluation.scoring import HELD_OUT, Scores, score_prediction
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.io import files, images, ownership, png
from dacli.models import tiny
from dacli.outputs import drawing, style
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts

DEMO_HEIGHT, DEMO_WIDTH = 480, 720
DEMO_PHOTO = Path(__file__).parents[1] / "assets" / "demo.jpg"  # Eileen Collins, by NASA, in the public domain


@dataclass(frozen=True)
class Demonstration:
    """The files written, by what they show, and the accuracy."""

    outputs: dict[str, Path]
    scores: Scores

    def as_json(self) -> dict[str, object]:
        """Return plain values for one JSON object."""
        return {"outputs": {what: str(path) for what, path in self.outputs.items()}, **asdict(self.scores)}


DEMO_PICTURES = ("photo", "photo_depth", "photo_side", "scene", "depth", "truth", "side")


def run_demonstration(folder: Path, index: int, *, overwrite: bool = False) -> Demonstration:
    """Write a photo and scene number `index` with their depth into the folder.

    Raises DacliError if a file cannot be written, or if one is there that is not of a demonstration, unless
    `overwrite`.
    """
    paths = {what: folder / f"demo_{what}.png" for what in DEMO_PICTURES}
    for what, path in paths.items() if not overwrite else ():
        ownership.refuse_foreign_files([path], partial(ownership.has_purpose, purpose=demo_purpose(what)))
    picture = render_layouts([make_scene(HELD_OUT, index)], DEMO_HEIGHT, DEMO_WIDTH)
    scene, truth = picture.rgb[0].permute(1, 2, 0).numpy(), picture.inverse_depth[0].numpy()
    photo = images.read_image(DEMO_PHOTO)
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan())
    of_photo, of_scene = (predictor.predict([rgb])[0].depth for rgb in (photo, scene))
    shown = {"photo": photo, "photo_depth": color_for_demo(of_photo)}
    shown["photo_side"] = np.concatenate(list(shown.values()), 1)
    row = {"scene": scene, "depth": color_for_demo(of_scene), "truth": color_for_demo(truth)}
    shown |= row | {"side": np.concatenate(list(row.values()), 1)}
    for what, path in paths.items():
        files.write_file(path, png.encode_png(shown[what], ownership.purpose_text(demo_purpose(what))))
    return Demonstration(paths, score_prediction(of_scene, truth, index))


def demo_purpose(what: str) -> list[str]:
    """Return what a picture of a demonstration was made for, as its record holds it."""
    return ["demo", what]


def color_for_demo(inverse_depth: types.DepthArray) -> types.Image8:
    low, high = style.depth_limits(inverse_depth, style.DepthRange(1, 99, percent=True))
    return drawing.draw_color(inverse_depth, low, high, "inverse depth")
