"""The pictures with the lowest scores, and the sheet that shows them."""

import cv2
import numpy as np
import pytest

from dacli.evaluation import scoring, worst
from dacli.evaluation.scoring import EvaluationSample, KnownDepth, ValidArea
from dacli.evaluation.worst import WorstPictures

RGB = np.full((30, 40, 3), 200, np.uint8)


def see(pictures: WorstPictures, name: str, **scores: float) -> None:
    known = KnownDepth(np.ones((30, 40)), 0)
    pictures.see(name, EvaluationSample(RGB, known.score, known), np.ones((30, 40)), scores)


def test_the_lowest_are_kept_in_order_and_none_without_a_score() -> None:
    pictures = WorstPictures()
    for number, delta1 in enumerate(np.random.default_rng(0).permutation(20) / 20):
        see(pictures, f"{number} {delta1}", delta1=delta1, abs_rel=9)
    see(pictures, "nothing known", abs_rel=100.0)
    assert [each.rank for each in pictures.kept] == [n / 20 for n in range(worst.SHOWN_WORST)]
    assert all(float(each.name.split()[1]) == each.rank for each in pictures.kept)


def test_errors_are_percent_of_the_true_depth_after_the_alignment_and_within_the_area() -> None:
    depth = np.broadcast_to(np.linspace(1, 8, 40), (30, 40))
    truth = np.where(np.arange(40) < 35, 1 / depth, np.nan)
    known = KnownDepth(truth, 0, "none", ValidArea(0, 100))
    predicted = np.where(np.arange(40) < 10, 1.2, 1.0) * depth
    shown = worst.shrink_sample("a", EvaluationSample(RGB, known.score, known), 1 / predicted, {})
    assert shown.error is not None
    expected = 100 * np.abs(predicted - depth) / depth
    np.testing.assert_allclose(shown.error[:, :35], expected[:, :35], atol=1e-3)
    assert np.isnan(shown.error[:, 35:]).all()
    affine = KnownDepth(truth, 0, "affine")
    shown = worst.shrink_sample("a", EvaluationSample(RGB, affine.score, affine), 5 / depth + 3, {})
    assert shown.error is not None
    np.testing.assert_allclose(shown.error[:, :35], 0, atol=1e-3)


def test_a_large_picture_is_kept_small_with_its_pairs_in_their_place() -> None:
    rgb = np.zeros((1200, 1600, 3), np.uint16)
    prediction = np.zeros((1200, 1600))
    prediction[600, 800] = 1
    pairs = (((600, 800), (0, 0)), ((1199, 1599), (600, 800)))
    kept = worst.shrink_sample("a", EvaluationSample(rgb, lambda _: {}, pairs=pairs), prediction, {"all": 0.5})
    assert (kept.rgb.shape, kept.prediction.shape, kept.truth) == ((360, 480, 3), (360, 480), None)
    assert kept.pairs == ((((180, 240), (0, 0)), True), (((359, 479), (180, 240)), False))


@pytest.mark.parametrize("points", [False, True])
def test_the_sheet_shows_the_photo_and_what_is_known(points: bool) -> None:
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[..., 2] = 255  # blue
    known = None if points else KnownDepth(np.ones((60, 80)) / 3, 0, "none")
    pictures = WorstPictures()
    sample = EvaluationSample(rgb, lambda _: {}, known, ((((5, 5), (50, 70)),) if points else ()))
    pictures.see("a $\\frac$ name", sample, np.linspace(0.1, 1, 4800).reshape(60, 80), {"delta1": 0.1, "abs_rel": 2})
    sheet = cv2.imdecode(np.frombuffer(worst.draw_worst_pictures({"tiny": pictures}, "a set"), np.uint8), 1)
    assert sheet is not None
    blue = (sheet == (255, 0, 0)).all(-1)
    assert 0.12 < blue.mean() < 0.25  # a quarter of the width, less the titles
    assert np.nonzero(blue.any(0))[0].max() < sheet.shape[1] * 0.26
    last = sheet[:, int(sheet.shape[1] * 0.76) :]
    assert ((last != 255).any()) == (not points)


def test_a_sheet_without_a_picture_has_only_its_title() -> None:
    sheet = cv2.imdecode(np.frombuffer(worst.draw_worst_pictures({"tiny": WorstPictures()}, "a set"), np.uint8), 0)
    assert sheet is not None
    assert (sheet < 128).any()


def test_an_evaluation_shows_its_pictures_to_who_watches() -> None:
    data = scoring.rendered_scenes(3, 7, "affine")
    pictures = WorstPictures()

    class Flat:
        spec = type("Spec", (), {"quantity": "inverse depth"})

        def predict(self, rgb: list[np.ndarray]) -> list[object]:
            return [type("Prediction", (), {"depth": np.ones(rgb[0].shape[:2], np.float32)})]

    found = scoring.evaluate_predictor(Flat(), data, lambda _: None, pictures)  # type: ignore[arg-type]
    order = sorted(found.by_picture, key=lambda name: found.by_picture[name]["delta1"])
    assert [each.name for each in pictures.kept] == order
