"""A rendered scene through the bundled model, beside its exact depth."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dacli import types
from dacli.evaluation.scoring import HELD_OUT, Scores, score_prediction
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.io import files, png
from dacli.models import tiny
from dacli.outputs import drawing, style
from dacli.scenes.layouts import make_scene, render_layouts

DEMO_HEIGHT, DEMO_WIDTH = 480, 720


@dataclass(frozen=True)
class Demonstration:
    """The files written, by what they show, and the accuracy."""

    outputs: dict[str, Path]
    scores: Scores

    def as_json(self) -> dict[str, object]:
        """Return plain values for one JSON object."""
        return {"outputs": {what: str(path) for what, path in self.outputs.items()}, **asdict(self.scores)}


def run_demonstration(folder: Path, index: int) -> Demonstration:
    """Write scene number `index`, its predicted and its true depth into the folder; raise DacliError if it cannot."""
    picture = render_layouts([make_scene(HELD_OUT, index)], DEMO_HEIGHT, DEMO_WIDTH)
    rgb, truth = picture.rgb[0].permute(1, 2, 0).numpy(), picture.inverse_depth[0].numpy()
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan())
    (found,) = predictor.predict([rgb])
    shown = {"scene": rgb, "depth": color_for_demo(found.depth), "truth": color_for_demo(truth)}
    shown["side"] = np.concatenate(list(shown.values()), 1)
    paths = {what: folder / f"demo_{what}.png" for what in shown}
    for what, path in paths.items():
        files.write_file(path, png.encode_png(shown[what]))
    return Demonstration(paths, score_prediction(found.depth, truth, index))


def color_for_demo(inverse_depth: types.DepthArray) -> types.Image8:
    low, high = style.depth_limits(inverse_depth, style.DepthRange(1, 99, percent=True))
    return drawing.draw_color(inverse_depth, low, high, "inverse depth")
