"""Folders of transformers, and what the config.json beside weights says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dacli.errors import DacliError
from dacli.models import registry
from dacli.models.choice import ModelChoice, OpenModel
from dacli.models.weight_files import find_weight_file, read_saved_config
from tests.models.test_checkpoint_files import random_weights

V2, V1 = [3, 6, 9, 12], [9, 10, 11, 12]  # of the published config.json of vits


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(random_weights("vits"), path)
    return path


def folder(place: Path, weights: Path, **values: Any) -> Path:
    """Make a folder of transformers with a config.json of these values."""
    place.mkdir(exist_ok=True)
    shutil.copy(weights, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps({"model_type": "depth_anything"} | values))
    return place


def taps(blocks: list[int]) -> dict[str, Any]:
    return {"backbone_config": {"out_indices": blocks, "num_hidden_layers": 12}}


def opened(path: Path, model: str = "v2") -> tuple[OpenModel, list[str]]:
    lines: list[str] = []
    choice = ModelChoice(None, model, path)
    return registry.open_model(choice, half=False, log=lines.append, progress=None), lines  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "max_depth", "version", "model"),
    [
        ({"depth_estimation_type": "metric", "max_depth": 80}, 80, "v2", "outdoor"),
        ({"depth_estimation_type": "metric", "max_depth": 20.0} | taps(V2), 20, "v2", "indoor"),
        ({"depth_estimation_type": "metric", "max_depth": 7.5}, 7.5, "v2", "metric up to 7.5 m"),
        ({"depth_estimation_type": "relative", "max_depth": 1} | taps(V1), None, "v1", "v1"),
        (taps(V2), None, "v2", "v2"),
    ],
)
def test_a_config_says_metres_and_version(
    tmp_path: Path, weights: Path, values: dict[str, Any], max_depth: float | None, version: str, model: str
) -> None:
    place = folder(tmp_path / "saved", weights, **values)
    for path in (place, place / "model.safetensors"):
        found, lines = opened(path)
        assert (found.network.max_depth, found.network.spec.version, found.model) == (max_depth, version, model)
        assert lines == ([] if model == "v2" else [f"vits is {model}, as the config.json beside it says"])


def test_an_option_that_contradicts_the_config_is_refused(tmp_path: Path, weights: Path) -> None:
    place = folder(tmp_path / "saved", weights, depth_estimation_type="metric", max_depth=80)
    assert opened(place, "outdoor")[0].network.max_depth == 80
    with pytest.raises(DacliError, match=r"is outdoor by the config.json beside it, not indoor: leave --model out"):
        opened(place, "indoor")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"depth_estimation_type": "metric"}, "max_depth is None"),
        ({"depth_estimation_type": "metric", "max_depth": -1}, "max_depth is -1"),
        ({"depth_estimation_type": "disparity"}, "depth_estimation_type is 'disparity'"),
        (taps([1, 2, 3, 4]), r"out_indices are \[1, 2, 3, 4\]"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused(
    tmp_path: Path, weights: Path, values: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DacliError, match=rf"config\.json: {fault}"):
        opened(folder(tmp_path / "saved", weights, **values))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "bert"}', "\0"])
def test_other_files_named_config_are_ignored(tmp_path: Path, weights: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert read_saved_config(Path(shutil.copy(weights, tmp_path))) is None


def test_shards_and_folders_are_named(tmp_path: Path) -> None:
    shard = tmp_path / "model-00002-of-00003.safetensors"
    shard.touch()
    for path in (shard, tmp_path):
        with pytest.raises(DacliError, match=r"00003\.safetensors is part 2 of 3 of a checkpoint: save it as one file"):
            find_weight_file(path)
    shard.unlink()
    with pytest.raises(DacliError, match=r"is a folder without weights: name the checkpoint file itself"):
        find_weight_file(tmp_path)
    for name in ("a.pth", "b.safetensors"):
        torch.save({}, tmp_path / name)
    with pytest.raises(DacliError, match=r"several files of weights \(a\.pth, b\.safetensors\): name one of them"):
        find_weight_file(tmp_path)
