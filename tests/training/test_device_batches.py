"""Batches rendered on the training device, here the CPU, against those that worker processes make."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts
from dacli.training import data, device_batches
from dacli.training.augment import random_crop
from dacli.training.data import BatchSettings, SceneSource, TrainingSample, TrainingStage
from dacli.training.device_batches import LayoutStream, ScenePool, Views, batches_on_device, crop_views
from tests.training.test_training_data import some_scene

STAGE = TrainingStage(steps=6, size=32, batch=6, fresh=2, canvas=48)


def made(
    last: int = 4, *, workers: int = 0, metric: bool = False, rank: int = 0, ranks: int = 1, seed: int = 5
) -> list[TrainingSample]:
    source = SceneSource(seed, some_scene, whole=metric)
    settings = BatchSettings(STAGE, source, seed, metric=metric)
    return list(batches_on_device(settings, source, 0, last, workers, "cpu", rank, ranks))


def test_a_view_is_the_crop_of_the_same_rectangle() -> None:
    canvas = render_layouts([make_scene(3, 1)], 60, 80)
    rgb, depth = canvas.rgb, canvas.inverse_depth
    for mirrored in (False, True):
        one = {"place": 0, "top": 7, "left": 12, "height": 44, "width": 55}
        views = Views(**{name: torch.tensor([value]) for name, value in one.items()}, mirrored=torch.tensor([mirrored]))
        picture, found = crop_views(rgb, depth, views, 32, 40)
        part = (slice(7, 51), slice(12, 67))
        expected, exact = random_crop(
            rgb[0][:, *part], depth[0][part], 32, 40, torch.Generator().manual_seed(0), zoom=0
        )
        flipped = torch.equal(exact, random_unmirrored(depth[0][part])) == mirrored
        expected, exact = (v.flip(-1) if flipped else v for v in (expected, exact))
        assert (found[0] == exact).float().mean() > 0.98  # a pixel exactly between two may be either
        assert (picture[0] - expected).abs().mean() < 0.01


def random_unmirrored(depth: torch.Tensor) -> torch.Tensor:
    """Return a map [44, 55] at 32 × 40, by NumPy: the nearest pixel of each."""
    rows, columns = (np.floor((np.arange(n) + 0.5) * size / n).astype(int) for n, size in ((32, 44), (40, 55)))
    return torch.from_numpy(depth.numpy()[rows][:, columns])


@pytest.mark.parametrize("metric", [False, True])
def test_batches_have_the_sizes_of_those_that_workers_make(*, metric: bool) -> None:
    source = SceneSource(5, some_scene, whole=metric)
    stream = data.BatchStream(BatchSettings(STAGE, source, 5, metric=metric), 0, 0, 4)
    for one, other in zip(made(metric=metric), data.load_batches(stream, 0), strict=True):
        assert [tensor.shape for tensor in one] == [tensor.shape for tensor in other]
        assert [tensor.dtype for tensor in one] == [tensor.dtype for tensor in other]
        assert 0 <= one[0].min() < one[0].max() <= 1
        assert one[1].isfinite().all()
        assert one[1].min() >= 0


def test_batches_depend_on_the_seed_and_not_on_the_workers() -> None:
    whole, by_workers, other = made(), made(workers=2), made(seed=6)
    for one, same, different in zip(whole, by_workers, other, strict=True):
        assert torch.equal(one[0], same[0])
        assert torch.equal(one[1], same[1])
        assert not torch.equal(one[1], different[1])


def test_two_processes_make_different_views_of_half_a_batch() -> None:
    first, second = made(rank=0, ranks=2), made(rank=1, ranks=2)
    assert {len(rgb) for rgb, _ in first + second} == {3}
    assert not any(torch.equal(one[1], other[1]) for one, other in zip(first, second, strict=True))


def test_each_worker_makes_the_layouts_of_its_batches_once() -> None:
    asked: Counter[tuple[int, int]] = Counter()

    def make(seed: int, index: int) -> Any:
        asked[seed, index] += 1
        return index

    stream: Iterable[Any] = LayoutStream(SceneSource(9, make), fresh=3, first=4, last=6)
    assert list(stream) == [[4000, 4001, 4002], [5000, 5001, 5002]]
    assert set(asked.values()) == {1}
    half: Iterable[Any] = LayoutStream(SceneSource(9, make), 3, 4, 5, rank=1, ranks=2)
    assert list(half) == [[4001]]


def test_a_pool_keeps_the_last_scenes() -> None:
    pool = ScenePool(4)
    for start in (0, 3):
        new = torch.arange(start, start + 3)
        places = pool.add(
            new[:, None, None, None].byte().expand(-1, 3, 2, 2), new[:, None, None].half().expand(-1, 2, 2)
        )
        assert pool.inverse_depth[places, 0, 0].tolist() == new.tolist()
    assert pool.count == 4
    assert sorted(pool.rgb[:, 0, 0, 0].tolist()) == [2, 3, 4, 5]


def test_an_error_in_the_thread_ends_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(device_batches, "render_layouts", broken)
    with pytest.raises(ZeroDivisionError):
        made()
