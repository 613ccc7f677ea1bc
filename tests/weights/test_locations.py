from pathlib import Path

import pytest

from dacli.errors import DacliError
from dacli.weights.locations import download_origins
from dacli.weights.manifest import checkpoint_named


def test_token_goes_to_the_first_hub_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("DACLI_MIRRORS", "https://a.test, https://b.test/hub/")
    first, *mirrors = download_origins(checkpoint_named("vits"))
    assert first.address.startswith("https://huggingface.co/depth-anything/")
    assert first.token == "hf_mine"
    assert [each.address.split("/depth-anything/")[0] for each in mirrors] == ["https://a.test", "https://b.test/hub"]
    assert [each.token for each in mirrors] == [None, None]


def test_token_of_the_hugging_face_login_is_used(tmp_path: Path) -> None:
    token = tmp_path / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_bytes(b"hf_kept\n")
    assert [each.token for each in download_origins(checkpoint_named("vits"))] == ["hf_kept", None]


def test_default_hubs() -> None:
    hosts = [each.address.split("/")[2] for each in download_origins(checkpoint_named("vits"))]
    assert hosts == ["huggingface.co", "hf-mirror.com"]


def test_an_endpoint_is_the_only_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.test/")
    monkeypatch.setenv("DACLI_MIRRORS", "https://a.test")
    assert [each.address for each in download_origins(checkpoint_named("vits-v1"))] == [
        "https://hub.test/spaces/LiheYoung/Depth-Anything/resolve/main/checkpoints/depth_anything_vits14.pth"
    ]


def test_empty_mirrors_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_MIRRORS", "")
    assert len(download_origins(checkpoint_named("vits"))) == 1


@pytest.mark.parametrize("address", ["hub.test", "file:///etc", "ftp://hub.test", "https://", "http://[hub"])
def test_invalid_address_of_a_hub_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(DacliError, match="HF_ENDPOINT"):
        download_origins(checkpoint_named("vits"))
