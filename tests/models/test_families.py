"""A network of another family is a class and a row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dacli
from dacli.callbacks import ignore_download, ignore_log
from dacli.errors import UsageError
from dacli.models import registry
from dacli.models.choice import OpenModel
from dacli.models.registry import ModelFamily
from dacli.weights import checkpoints, manifest
from tests.support.commands import photo
from tests.support.models import SmallModel


class Brightness(SmallModel):
    """Brighter is nearer."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1) + 5


def test_a_new_family_is_one_class_and_one_row(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ModelFamily(
        names=("brightness",),
        recognizes=lambda path: path.suffix == ".pth" and path.read_bytes() == b"bright",
        open_file=lambda path, _: OpenModel(Brightness(), "brightness", "v2", path.name),
        build=lambda _, max_depth: Brightness(max_depth),
    )
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, row))
    (home / "mine.pth").write_bytes(b"bright")
    depth = dacli.load(home / "mine.pth", device="cpu", engine="torch", precision="fp32")
    found = depth(photo(home / "a.png", shape=(28, 42)))
    rgb = torch.from_numpy(np.asarray(found.image).copy()).float() / 255
    expected = ((rgb - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])).mean(2) + 5
    np.testing.assert_allclose(found.depth, expected, atol=1e-5)
    assert registry.model_names()[-1] == "brightness"


def test_a_family_reads_its_own_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = ModelFamily(
        names=("brightness",),
        recognizes=lambda _: False,
        open_file=lambda path, _: OpenModel(Brightness(), "brightness", "v2", str(path)),
        build=lambda _, max_depth: Brightness(max_depth),
        models=("v2", "indoor"),
    )
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, row))
    published = replace(manifest.read_manifest()[0], name="b", encoder="brightness", file="b.pth")
    monkeypatch.setattr(manifest, "read_manifest", lambda: (published,))
    monkeypatch.setattr(checkpoints, "find_checkpoint", lambda _row, _log: tmp_path / "b.pth")
    monkeypatch.setattr(checkpoints, "obtain_checkpoint", lambda _row, _log, _progress: tmp_path / "b.pth")
    choice = registry.choose_model("brightness", "v2", None)
    found = registry.open_model(choice, half=False, log=ignore_log, progress=ignore_download)
    assert isinstance(found.network, Brightness)
    assert (found.encoder, found.model, found.weights) == ("brightness", "v2", "b.pth")
    with pytest.raises(UsageError, match="there is no outdoor model of brightness: leave --model out"):
        registry.choose_model("brightness", "outdoor", None)


def test_the_command_line_offers_the_names_of_the_registry() -> None:
    from typing import get_args

    from dacli.choices import EncoderName

    assert get_args(EncoderName) == registry.model_names()
