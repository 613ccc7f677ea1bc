from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.steadiness import METHODS, Take, as_it_is, averaged_range, each_alone, measured, output, recovery, take
from dacli.evaluation import temporal
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Predictor
from dacli.models import tiny
from dacli.scenes.kinds import make_scene
from dacli.scenes.moving import MOTIONS, render_clip

RNG = np.random.default_rng(4)
SIZE = (48, 64)


class Guess(NamedTuple):
    depth: NDArray[np.float32]


def made_of(raw: NDArray[np.float32], shots: list[int]) -> Take:
    gray = [np.full((*raw.shape[1:], 3), 128, np.uint8)] * len(raw)
    return Take(gray, raw, raw, [t / 30 for t in range(len(raw))], shots, [None] * len(raw))


def rendered(motion: str, count: int, *, cut: bool = False, network: Predictor | None = None) -> Take:
    """A clip with its exact depth in scale_shifts that jitter, or with what a network makes of it."""
    layouts = [make_scene(77, 8), make_scene(77, 15)][: 1 + cut]
    frames = list(render_clip(layouts, MOTIONS[motion], count, SIZE, noise=2))
    if network:
        return take(frames, np.stack([network.predict([f.rgb])[0].depth for f in frames]))
    gains, shifts = np.exp(RNG.normal(0, 0.1, count)), RNG.normal(0, 0.2, count)
    raws = [a * f.inverse_depth + b for a, b, f in zip(gains, shifts, frames, strict=True)]
    return take(frames, np.stack(raws).astype(np.float32))


def test_every_frame_by_itself_goes_from_0_to_1() -> None:
    taken = made_of(RNG.normal(3, 2, (3, 10, 10)).astype(np.float32), [0, 0, 0])
    shown = output(taken, each_alone(0, 100))
    np.testing.assert_allclose([(d.min(), d.max()) for d in shown], [(0, 1)] * 3, atol=1e-5)
    shown = output(taken, each_alone(2, 98))
    np.testing.assert_allclose([np.percentile(d, (2, 98)) for d in shown], [(0, 1)] * 3, atol=1e-5)


def test_one_range_for_the_shot_keeps_what_the_network_says_of_brightness() -> None:
    raw = RNG.normal(3, 2, (5, 10, 10)).astype(np.float32)
    raw[3:] *= 7
    shown = output(made_of(raw, [0, 0, 0, 1, 1]), as_it_is)
    for part in (slice(0, 3), slice(3, 5)):
        np.testing.assert_allclose(np.percentile(shown[part], (2, 98)), (0, 1), atol=1e-5)
        assert np.polyfit(raw[part].ravel(), shown[part].ravel(), 1, full=True)[1][0] < 1e-6


def test_the_running_average_follows_by_a_tenth_and_starts_anew_at_a_cut() -> None:
    ramp = np.linspace(0, 1, 101, dtype=np.float32)[None, None]
    raw = np.concatenate([ramp, 2 * ramp, 5 * ramp])
    scale_shifts = list(averaged_range(made_of(raw, [0, 0, 1])))
    for scale_shift, reach in zip(scale_shifts, (1, 1.1, 5), strict=True):
        low, high = 0.02 * reach, 0.98 * reach
        assert scale_shift.scale * low + scale_shift.shift == pytest.approx(0, abs=1e-6)
        assert scale_shift.scale * high + scale_shift.shift == pytest.approx(1)


def test_frames_are_followed_within_a_shot_only() -> None:
    taken = rendered("pan", 6, cut=True)
    assert taken.shots == [0, 0, 0, 1, 1, 1]
    assert [match is None for match in taken.matches] == [True, False, False, True, False, False]
    assert taken.truth.shape == taken.raw.shape == (6, *SIZE)


def test_every_shot_is_measured_in_its_own_scale_and_shift() -> None:
    taken = rendered("dolly", 10, cut=True)
    depth = taken.truth.copy()
    depth[5:] = 9 * depth[5:] - 4
    rows = measured(taken, depth, bent=False)
    np.testing.assert_allclose([row[:3] for row in rows], [[0, 0, 1]] * 2, atol=1e-4)
    whole = temporal.measure_flicker(depth, taken.truth, taken.matches)
    assert whole.delta1 < 0.9


def test_the_share_at_the_ends_is_that_of_black_and_white() -> None:
    taken = rendered("still", 3)
    depth = np.full(taken.truth.shape, 0.5, np.float32)
    depth[:, :12] = 3  # a quarter of the picture
    depth += 1e-3 * taken.truth
    assert measured(taken, depth, bent=False)[0][3] == 0.25
    assert measured(taken, depth, bent=True)[0][3] == 0


@pytest.mark.parametrize("motion", ["pan", "hand-held", "passer"])
def test_jitter_of_scale_and_shift_is_gone(motion: str) -> None:
    taken = rendered(motion, 12)
    found = {name: measured(taken, output(taken, method), bent=False)[0] for name, method in METHODS.items()}
    jittery, own = found["one range for the shot"], found["minimum and maximum of each frame"]
    for name in ("steady, one pass", "steady, two passes"):
        jerk, _, delta1, _ = found[name]
        assert jerk < 0.02 * jittery[0]
        assert jerk <= 0.25 * own[0] or jerk < 0.2  # percent of the range; where extremes stand still, so does the rest
        assert delta1 >= own[2] - 0.01


def test_the_bundled_network_flickers_less_than_a_quarter_at_the_same_delta1() -> None:
    network = build_predictor(tiny.load_tiny(), planning.resolve_plan("cpu", "fp32"))
    rows: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    for motion in ("pan", "hand-held"):
        taken = rendered(motion, 10, network=network)
        for name, method in METHODS.items():
            rows[name] += measured(taken, output(taken, method), bent=False)
    own = np.mean(rows["minimum and maximum of each frame"], 0)
    for name in ("steady, one pass", "steady, two passes"):
        steady = np.mean(rows[name], 0)
        assert steady[0] <= own[0] / 4
        assert steady[2] >= own[2] - 0.01


def test_recovery_is_0_at_a_cut_that_is_seen_and_not_at_one_that_is_missed() -> None:
    taken = rendered("pan", 10, cut=True)
    assert recovery(taken) == 0
    blind = Take([taken.rgb[0]] * 10, taken.raw, taken.truth, taken.seconds, taken.shots, taken.matches)
    assert recovery(blind) > 0.01
