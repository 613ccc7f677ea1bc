"""Sources and batches of training data: reproducible, resumable, shared by workers and ranks."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from dacli.errors import DacliError
from dacli.evaluation.datasets import DepthPair
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import Layout
from dacli.training import data
from dacli.training.data import (
    BatchSettings,
    BatchStream,
    PairSource,
    SceneSource,
    TrainingStage,
    load_batches,
    random_picture_size,
    validation_samples,
)

STAGE = TrainingStage(steps=6, size=32, batch=4, fresh=2, canvas=48)


def some_scene(seed: int, index: int) -> Layout:
    """Return one of six scenes, which are rendered quickly: the numbers are what is tested."""
    return cached_scene(seed % 2, index % 3)


@cache
def cached_scene(seed: int, index: int) -> Layout:
    return make_scene(seed, index)


def stream(first: int = 0, last: int = 6, seed: int = 5, **others: Any) -> BatchStream:
    settings = BatchSettings(STAGE, SceneSource(seed, some_scene), seed)
    return BatchStream(settings, 0, first, last, **others)


def all_batches(stream: BatchStream) -> list[data.TrainingSample]:
    """Return all batches of a stream, made in this process."""
    return list(load_batches(stream, 0))


def assert_same(first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def write_pairs(folder: Path, count: int, size: tuple[int, int] = (70, 80)) -> tuple[DepthPair, ...]:
    """Write pictures whose gray value and depth encode their number."""
    found = []
    for n in range(count):
        Image.fromarray(np.full((*size, 3), 10 * n, np.uint8)).save(folder / f"{n}.png")
        np.save(folder / f"{n}.npy", np.full(size, n + 1, np.float32))
        found.append(DepthPair(folder / f"{n}.png", folder / f"{n}.npy", "1/m"))
    return tuple(found)


def test_batches_depend_on_the_seed_alone() -> None:
    first, again, other = (all_batches(stream(seed=seed)) for seed in (5, 5, 6))
    assert_same(first, again)
    for (picture, truth), (different, _) in zip(first, other, strict=True):
        assert picture.shape == (4, 3, *truth.shape[2:])
        assert truth.shape[:2] == (4, 1)
        assert picture.isfinite().all()
        assert truth.isfinite().all()
        assert (truth >= 0).all()
        assert picture.shape != different.shape or not torch.equal(picture, different)
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("first", [1, 5])
def test_a_stream_that_starts_in_the_middle_gives_the_same_batches(first: int) -> None:
    assert_same(all_batches(stream(first)), all_batches(stream())[first:])


def test_worker_processes_make_the_same_batches() -> None:
    assert_same(list(load_batches(stream(1, 4), 2)), all_batches(stream(1, 4)))


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_a_batch_slot_by_slot(ranks: int) -> None:
    whole = all_batches(stream(last=3))
    parts = [all_batches(stream(last=3, rank=rank, ranks=ranks)) for rank in range(ranks)]
    for number, (picture, truth) in enumerate(whole):
        for rank in range(ranks):
            assert torch.equal(parts[rank][number][0], picture[rank::ranks])
            assert torch.equal(parts[rank][number][1], truth[rank::ranks])


def test_each_batch_renders_its_new_scenes_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []

    def record(_seed: int, index: int) -> Layout:
        rendered.append(index)
        return cached_scene(0, 0)

    monkeypatch.setattr(data, "augment_photometric", lambda rgb, *_: rgb)
    batch = BatchStream(BatchSettings(STAGE, SceneSource(5, record), 5), 0, 0, 12).batch
    for number in range(12):
        before = len(rendered)
        batch(number)
        new = rendered[before:]
        if number < data.BATCH_LANES:  # its lane has no earlier batches
            assert new == [1000 * number + slot for slot in range(4)]
        else:
            assert new == [1000 * number, 1000 * number + 1]
    assert len(set(rendered)) == len(rendered)


def test_crops_are_of_recent_scenes_of_the_same_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "CACHED_SCENES", 40)  # 5 batches back in the lane
    source = SceneSource(5, some_scene)
    for slot in (2, 3):
        found = {source.choose_item(STAGE, 101, 1101, slot, data.seeded_generator(n)) for n in range(300)}
        assert {item // 1000 for item in found} == {1101 - 4 * back for back in range(6)}
        assert {item % 1000 for item in found} == {slot % 2}


def test_the_number_of_kept_scenes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "CACHED_SCENES", 16)
    monkeypatch.setattr(data, "augment_photometric", lambda rgb, *_: rgb)
    monkeypatch.setattr(SceneSource, "canvas", lambda *_: (torch.zeros(3, 64, 64), torch.ones(64, 64)))
    filled = stream(last=60)
    all_batches(filled)
    assert len(filled.canvases) <= 16 + 4 * 4


def test_a_stream_in_this_process_does_not_change_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchStream, "batch", lambda *_: (torch.zeros(1), torch.zeros(1)))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        next(iter(stream()))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def pair_settings(given: tuple[DepthPair, ...], *, strong: bool = False, metric: bool = False) -> BatchSettings:
    return BatchSettings(TrainingStage(9, 32, 4, 2, 48), PairSource(5, given), 5, strong=strong, metric=metric)


def test_every_epoch_takes_every_pair_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    settings = pair_settings(write_pairs(tmp_path, 9))  # one of them is held out
    numbers = [
        int(value) - 1 for _, truth in all_batches(BatchStream(settings, 0, 0, 4)) for value in truth[:, 0, 0, 0]
    ]
    assert sorted(numbers[:8]) == sorted(numbers[8:]) == list(range(8))
    assert numbers[:8] != numbers[8:]
    assert [source.pairs[item].picture.name for source, item in settings.source.held_out()] == ["8.png"]  # type: ignore[union-attr]


def test_pairs_from_the_middle_of_an_epoch_are_the_same(tmp_path: Path) -> None:
    settings = pair_settings(write_pairs(tmp_path, 9))
    assert_same(all_batches(BatchStream(settings, 0, 3, 6)), all_batches(BatchStream(settings, 0, 0, 6))[3:])


def test_each_picture_keeps_its_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "augment_photometric", lambda rgb, *_: rgb)
    for picture, truth in all_batches(BatchStream(pair_settings(write_pairs(tmp_path, 9)), 0, 0, 3)):
        gray = (picture * 255).mean((1, 2, 3))
        np.testing.assert_allclose(gray / 10, truth[:, 0, 0, 0] - 1, atol=1e-2)


def test_pictures_of_16_bits_are_reduced_to_their_upper_eight(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2700
    Image.fromarray(values).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.ones((4, 6)))
    rgb, truth = PairSource(1, (DepthPair(tmp_path / "a.png", tmp_path / "a.npy", 0.5),)).canvas(0, STAGE)
    assert (rgb.dtype, truth.dtype) == (torch.uint8, torch.float32)
    np.testing.assert_array_equal(rgb, (values // 256)[None].repeat(3, 0))
    assert (truth == 2).all()


def test_one_of_fifty_pairs_is_held_out_and_at_most_sixteen() -> None:
    def held_out(count: int) -> int:
        return len(PairSource(1, (DepthPair(Path("a"), Path("b")),) * count).held_out())

    assert [held_out(count) for count in (2, 49, 100, 500, 10_000)] == [1, 1, 2, 10, 16]


def test_strong_augmentation_mixes_half_of_the_samples(tmp_path: Path) -> None:
    mixed = []
    for picture, truth in all_batches(BatchStream(pair_settings(write_pairs(tmp_path, 9), strong=True), 0, 0, 24)):
        assert truth.shape == (len(picture), 2, *picture.shape[2:])
        known = truth.isfinite()
        assert (known.sum(1) == 1).all()  # each pixel belongs to one region
        for sample, sure in zip(truth, known, strict=True):
            mixed.append(bool(sure[1].any()))
            assert all(len(region[each].unique()) <= 1 for region, each in zip(sample, sure, strict=True))
    assert 30 < sum(mixed) < 66  # of 96; a few rectangles are empty


def test_rendered_pictures_for_metres_are_uncropped_in_every_aspect_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: list[tuple[int, ...]] = []

    def record(
        _canvas: Tensor, depth: Tensor, height: int, width: int, _random: Generator, zoom: float
    ) -> data.TrainingSample:
        shapes.append((*depth.shape, height, width))
        assert zoom == 0
        return torch.zeros(3, height, width), torch.ones(height, width)

    monkeypatch.setattr(data, "random_crop", record)
    settings = BatchSettings(TrainingStage(9, 64, 4, 2, 48), SceneSource(5, some_scene, whole=True), 5, metric=True)
    for number, (picture, _) in enumerate(all_batches(BatchStream(settings, 0, 0, 4))):
        height, width = {0: (64, 64), 1: (64, 96), 2: (64, 128), 3: (96, 64)}[number % 4]
        assert picture.shape == (4, 3, height, width)
    assert {shape[:2] for shape in shapes} == {(48, 48), (48, 64), (48, 85), (64, 48)}
    assert all((shape[0] > shape[1]) == (shape[2] > shape[3]) for shape in shapes)
    found, _ = validation_samples(settings)
    assert found.shape == (data.VALIDATION_SAMPLES, 3, 64, 64)


def test_pictures_of_files_for_metres_are_square_and_not_zoomed(tmp_path: Path) -> None:
    down, right = np.mgrid[:80, :80]
    Image.fromarray(np.stack([right, down, down], 2).astype(np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", (1 + right + 100 * down).astype(np.float32))
    same = (DepthPair(tmp_path / "a.png", tmp_path / "a.npy", "1/m"),) * 3
    for _, truth in all_batches(BatchStream(pair_settings(same, metric=True), 0, 0, 4)):
        assert truth.shape == (4, 1, 32, 32)
        low, high = truth.amin((1, 2, 3)), truth.amax((1, 2, 3))
        assert (low < 1 + 2.5 + 250).all()
        assert (high > 79 * 101 - 255).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_faulty_file_is_reported_in_one_line(workers: int, tmp_path: Path) -> None:
    found = write_pairs(tmp_path, 9)
    np.save(tmp_path / "3.npy", np.zeros((70, 80)))
    with pytest.raises(DacliError, match=r"3\.npy holds no depth") as error:
        list(load_batches(BatchStream(pair_settings(found), 0, 0, 4), workers))
    assert "\n" not in str(error.value)


def test_validation_samples_are_of_another_stream_and_not_augmented() -> None:
    settings = BatchSettings(STAGE, SceneSource(5, some_scene), 5)
    picture, truth = validation_samples(settings)
    assert picture.shape == (data.VALIDATION_SAMPLES, 3, 32, 32)
    assert truth.shape == (data.VALIDATION_SAMPLES, 1, 32, 32)
    assert_same([(picture, truth)], [validation_samples(settings)])
    assert settings.source.held_out()[0][0].seed != 5


@pytest.mark.parametrize("patch", [32, 14])
@pytest.mark.parametrize("size", [128, 192, 252])
def test_picture_sizes_are_multiples_of_the_patch_and_of_about_one_area(size: int, patch: int) -> None:
    found = {random_picture_size(size, Generator().manual_seed(seed), patch) for seed in range(100)}
    assert len(found) >= 3
    for height, width in found:
        assert height % patch == width % patch == 0
        assert 0.6 < height * width / size**2 < 1.5
        assert 0.4 < height / width < 2


def test_seeds_that_differ_in_one_number_differ() -> None:
    def number(*seeds: int) -> Tensor:
        return torch.rand(4, generator=data.seeded_generator(*seeds))

    found = [number(*seeds) for seeds in ((1,), (2,), (1, 0), (1, 2), (2, 1), (1, 2, 3), (1_000_003, 2))]
    assert len({tuple(row.tolist()) for row in found}) == len(found)
    assert torch.equal(number(1, 2), number(1, 2))
