"""dacli export onnx: what is written, and what is refused before the network is looked at."""

import hashlib
import json
import sys
from pathlib import Path

import onnxruntime
import pytest

from dacli.inference import onnx_export
from dacli.models import registry
from tests.support.commands import Run, files_below


def test_a_file_says_what_made_it(home: Path, weights: Path, dacli: Run) -> None:
    result = dacli("export", "onnx", "--encoder", "tiny", "--size", "64", "--ratio", "16:9", "--json")
    assert (result.code, files_below(home)) == (0, ["tiny-64x128.onnx"])
    printed = json.loads(result.out)
    session = onnxruntime.InferenceSession(str(home / "tiny-64x128.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 64, 128]
    found = session.get_modelmeta().custom_metadata_map
    assert printed == {"file": "tiny-64x128.onnx"} | found
    assert found["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (found["licence"], found["encoder"], found["quantity"]) == ("Apache-2.0", "tiny", "inverse depth")


def test_the_licence_of_an_own_file_is_not_guessed(
    home: Path, weights: Path, dacli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "build_onnx", lambda *_, **__: b"a graph")
    result = dacli("export", "onnx", "--weights", weights, "--dynamic", "-o", home / "deep" / "own.onnx")
    assert (result.code, result.out) == (0, f"{home / 'deep' / 'own.onnx'}\n")
    assert result.err[-1].endswith("sides that are multiples of 32, fp32; licence that of your own file")


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("--dynamic", "--size", "64"), 2, "--dynamic and a fixed size contradict each other"),
        (("--ratio", "16x9"), 2, "--ratio 16x9 is not a ratio of width and height"),
        (("--ratio", "0:9"), 2, "--ratio 0:9 is not a ratio of width and height"),
        (("--size", "64,96"), 2, "this command takes one encoder, size and file of weights"),
        (("--encoder", "tiny,vits"), 2, "this command takes one encoder, size and file of weights"),
        (("-o", "there.onnx"), 1, "there.onnx exists already: --overwrite replaces it"),
        (("-o", "."), 1, ". is a folder: -o takes the name of a file"),
        (("-o", "there.onnx/below.onnx"), 1, "cannot write there.onnx (a file stands where its folder should be)"),
    ],
)
def test_what_cannot_be_is_refused_before_the_network_is_read(
    home: Path, dacli: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, fault: str
) -> None:
    monkeypatch.setattr(registry, "open_model", lambda *_, **__: pytest.fail("the network was read"))
    (home / "there.onnx").write_text("mine")
    result = dacli("export", "onnx", *(() if "--encoder" in arguments else ("--encoder", "tiny")), *arguments)
    assert (result.code, len(result.err), result.out) == (code, 1, "")
    assert result.err[0].startswith(f"error: {fault}")
    assert (home / "there.onnx").read_text() == "mine"


def test_without_the_package_the_error_names_the_command(
    home: Path, dacli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = dacli("export", "onnx", "--encoder", "tiny")
    assert result.errors == ["error: the package onnx is not installed: pip install onnx onnxruntime"]
    assert not files_below(home)


def test_an_export_that_fails_leaves_nothing(home: Path, dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("no such step\nand more")

    monkeypatch.setattr(onnx_export, "trace_to_onnx", fail)
    result = dacli("export", "onnx", "--encoder", "tiny")
    assert (result.code, result.errors) == (
        1,
        ["error: tiny cannot be exported to ONNX (no such step): choose another model"],
    )
    assert not files_below(home)
