"""How steady depth clips are, measured on rendered clips with exact depth: python -m benchmarks.steadiness."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.evaluation import temporal
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Predictor
from dacli.io.scales import to_tones
from dacli.models import tiny
from dacli.scenes import moving
from dacli.scenes.kinds import make_scene
from dacli.scenes.moving import MOTIONS, CameraMotion, RenderedFrame, match_frames, render_clip
from dacli.video.stabilize import ScaleShift, Stabilizer, TwoPassStabilizer

CLIPS, FRAMES, SIZE = 10, 90, (256, 352)
LONG, SMALL = 3000, (48, 64)
STREAM = 60613  # of scenes; the constants of matching, cuts and steady were chosen on others
KINDS = ("pan", "dolly", "truck", "hand-held", "passer")

Depths = NDArray[np.float32]


@dataclass(frozen=True)
class Take:
    """A clip with the depth of a network and the true depth, both [T, H, W]."""

    rgb: Sequence[NDArray[np.uint8]]
    raw: Depths
    truth: Depths
    seconds: Sequence[float]
    shots: Sequence[int]
    matches: Sequence[moving.FrameMatch | None]


Method = Callable[[Take], Iterable[ScaleShift]]


def take(frames: Sequence[RenderedFrame], raw: Depths) -> Take:
    pairs = (match_frames(b, a) if a.shot == b.shot else None for a, b in pairwise(frames))
    truth = np.stack([f.inverse_depth for f in frames])
    return Take(
        [f.rgb for f in frames], raw, truth, [f.seconds for f in frames], [f.shot for f in frames], [None, *pairs]
    )


def predicted(predictor: Predictor, number: int) -> Take:
    """Return clip `number`: the motions by turns.

    Every second round has a hard cut half-way. All have noise of 2 in 255.
    """
    layouts = [make_scene(STREAM, number), make_scene(STREAM, number + CLIPS)][: 1 + number // len(KINDS) % 2]
    motion = MOTIONS[KINDS[number % len(KINDS)]]
    frames = list(render_clip(layouts, motion, FRAMES, SIZE, noise=2, seed=number))
    return take(frames, np.stack([predictor.predict([f.rgb])[0].depth for f in frames]))


def simulated(rng: np.random.Generator) -> Take:
    """Return a long clip by a shaking camera: exact depth, whose scale and shift jitter (1.5 % a frame) and drift.

    Added is slow noise, smooth over a quarter of the picture, of 2 % of the range.
    """
    frames = list(render_clip([make_scene(STREAM, 0)], CameraMotion(shake=0.01), LONG, SMALL, noise=2))
    raw = np.stack([f.inverse_depth for f in frames])
    raw /= np.ptp(np.percentile(raw[0], (2, 98)))
    seconds, walk = np.arange(LONG) / 30, rng.normal(size=(2, LONG)).cumsum(1)
    gain = np.exp(0.015 * rng.normal(size=LONG) + 0.2 * np.sin(seconds) + 0.004 * walk[0])
    shift = 0.03 * rng.normal(size=LONG) + 0.01 * walk[1]
    bumps = rng.normal(size=(4, 5))
    for t in range(LONG):
        bumps = 0.995 * bumps + 0.1 * rng.normal(size=bumps.shape)
        field = cv2.resize(bumps, SMALL[::-1], interpolation=cv2.INTER_CUBIC)
        raw[t] = gain[t] * (raw[t] + 0.02 * field) + shift[t]
    return take(frames, raw)


def each_alone(low: float, high: float) -> Method:
    """Yield every frame by its own percentiles."""

    def scale_shifts(taken: Take) -> Iterator[ScaleShift]:
        for depth, shot in zip(taken.raw, taken.shots, strict=True):
            below, above = np.percentile(depth, (low, high))
            yield between(below, above, shot)

    return scale_shifts


def as_it_is(taken: Take) -> Iterator[ScaleShift]:
    """Yield what the network gives, shown by the 2nd and 98th percentile of the whole shot."""
    for shot in range(taken.shots[-1] + 1):
        below, above = np.percentile(taken.raw[np.equal(taken.shots, shot)], (2, 98))
        yield from [between(below, above, shot)] * taken.shots.count(shot)


def averaged_range(taken: Take) -> Iterator[ScaleShift]:
    """Yield every frame by the running average, weight 0.9, of the 2nd and 98th percentiles of its shot."""
    last, ends = -1, np.zeros(2)
    for depth, shot in zip(taken.raw, taken.shots, strict=True):
        own = np.percentile(depth, (2, 98))
        ends = own if shot != last else 0.9 * ends + 0.1 * own
        last = shot
        yield between(ends[0], ends[1], shot)


def between(low: float, high: float, shot: int) -> ScaleShift:
    return ScaleShift(1 / (high - low), -low / (high - low), shot)


def one_pass(taken: Take) -> Iterator[ScaleShift]:
    stabilizer = Stabilizer()
    for depth, rgb, seconds in zip(taken.raw, taken.rgb, taken.seconds, strict=True):
        yield stabilizer.step(depth, rgb, seconds)


def two_passes(taken: Take) -> Iterator[ScaleShift]:
    stabilizer = TwoPassStabilizer()
    for depth, rgb, seconds in zip(taken.raw, taken.rgb, taken.seconds, strict=True):
        stabilizer.add(depth, rgb, seconds)
    return stabilizer.scale_shifts()


METHODS: dict[str, Method] = {
    "minimum and maximum of each frame": each_alone(0, 100),
    "2nd and 98th percentile of each frame": each_alone(2, 98),
    "running average of those": averaged_range,
    "one range for the shot": as_it_is,
    "steady, one pass": one_pass,
    "steady, two passes": two_passes,
}


def output(taken: Take, method: Method) -> Depths:
    """Return the clip [T, H, W] as a method shows it, before tones are bent at the ends."""
    scale_shifts = method(taken)
    return np.stack([g.scale * depth + g.shift for g, depth in zip(scale_shifts, taken.raw, strict=True)])


def table(predictor: Predictor, count: int, report: Callable[[int], None]) -> list[str]:
    """Return rows of Markdown: mean measures of every method over the shots of rendered clips.

    How the cuts went.
    """
    rows: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    cuts = []
    for number in range(count):
        taken = predicted(predictor, number)
        for name, method in METHODS.items():
            rows[name] += measured(taken, output(taken, method), bent=name.startswith("steady"))
        cuts += [recovery(taken)] if taken.shots[-1] else []
        report(number + 1)
    lines = [f"| {name} | {row(np.nanmean(found, 0))} |" for name, found in rows.items()]
    found = sum(off == 0 for off in cuts)
    return [*lines, f"after {found} of {len(cuts)} cuts the output is to the bit that of a start at the cut"]


def measured(taken: Take, depth: Depths, *, bent: bool) -> list[list[float]]:
    """Return jerk, TGE, δ1 and the share of 16-bit values at either end, of every shot; each has its own scale."""
    found = []
    for shot in range(taken.shots[-1] + 1):
        part = slice(taken.shots.index(shot), taken.shots.index(shot) + taken.shots.count(shot))
        f = temporal.measure_flicker(depth[part], taken.truth[part], taken.matches[part])
        tones = to_tones(depth[part], 1.0, 0.0) if bent else depth[part].clip(0, 1)
        ends = np.isin(np.rint(65535 * tones), (0, 65535)).mean()
        found.append([f.jerk, f.tge, f.delta1, float(ends)])
    return found


def row(means: NDArray[np.float64]) -> str:
    return "{:.3f} | {:.2f} | {:.1%} | {:.1%}".format(*means)


def recovery(taken: Take) -> float:
    """Return largest difference after the first cut between the output and that of a start at the cut."""
    cut = taken.shots.index(1)
    rest = Take(taken.rgb[cut:], taken.raw[cut:], taken.truth[cut:], taken.seconds[cut:], taken.shots[cut:], [])
    return float(np.abs(output(taken, one_pass)[cut:] - output(rest, one_pass)).max())


def long_run(taken: Take) -> list[str]:
    """Return lines about a long clip: jerk, drift and the range that frames take of the output's."""
    lines = []
    for name in ("2nd and 98th percentile of each frame", "steady, one pass", "steady, two passes"):
        depth = output(taken, METHODS[name])
        found, (deviation, rise) = (
            temporal.measure_flicker(depth, taken.truth, taken.matches),
            temporal.scale_drift(depth, taken.truth),
        )
        low, high = np.percentile(depth, (2, 98), axis=(1, 2))
        lines.append(
            f"{len(depth)} frames, {name}: jerk {found.jerk:.3f}, δ1 {found.delta1:.1%}, log scale deviates by "
            f"{deviation:.4f} and rises by {rise:.4f}, p98 − p2 in {(high - low).min():.2f} … {(high - low).max():.2f}"
        )
    return lines


def speed(network: tuple[int, int] = (518, 924), size: tuple[int, int] = (1080, 1920), turns: int = 100) -> float:
    """Return median milliseconds of one core's time for a step with depth and pictures of these sizes."""
    cv2.setNumThreads(1)
    frames = list(render_clip([make_scene(STREAM, 0)], MOTIONS["hand-held"], 8, (90, 160)))
    depths = [cv2.resize(frame.inverse_depth, network[::-1]) for frame in frames]
    pictures = [np.asarray(cv2.resize(frame.rgb, size[::-1]), np.uint8) for frame in frames]
    stabilizer, taken = Stabilizer(), []
    for turn in range(turns):
        depth, rgb = np.asarray(depths[turn % 8], np.float32), pictures[turn % 8]
        started = time.process_time()
        stabilizer.step(depth, rgb, turn / 30)
        taken.append(time.process_time() - started)
    return 1000 * statistics.median(taken)


def main() -> None:
    """Print the table and the lines below it."""
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan("cpu", "fp32"))

    def report(number: int) -> None:
        sys.stderr.write(f"\r{number} of {CLIPS} clips")

    lines = [
        "| | jerk, % | TGE, % | δ1 | clipped |",
        "|---|---|---|---|---|",
        *table(predictor, CLIPS, report),
    ]
    lines += [
        *long_run(simulated(np.random.default_rng(0))),
        f"518 × 924 of 1080 × 1920: {speed():.2f} ms of one core a frame",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser("python -m benchmarks.steadiness", description=__doc__).parse_args()
    main()
