"""Depth models of Transformers: their depth is that of the library's pipeline; what is no such model is one line."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

import dacli
from dacli.errors import DacliError
from dacli.inference.device import ExecutionPlan
from dacli.inference.loading import build_predictor
from dacli.models import transformers_model
from dacli.models.transformers_model import TransformersDepth, open_transformers_folder
from dacli.models.transformers_processing import read_processing
from tests.support import transformers_models as small
from tests.support.commands import Run, photo
from tests.support.transformers_models import SmallArchitecture

SHAPES = ((90, 130), (300, 201))
Floats = NDArray[np.float32]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(height).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def predicted(network: TransformersDepth, rgb: Any, **options: Any) -> Floats:
    names = {"engine": "torch", "precision": "fp32", **options}
    plan = ExecutionPlan("cpu", names["engine"], names["precision"], half_weights=False, reason="")
    return build_predictor(network, plan).predict([rgb])[0].depth


def by_the_library(model: Any, case: SmallArchitecture, rgb: NDArray[np.uint8]) -> Floats:
    """What the library's pipeline for depth estimation does with a picture."""
    processor = getattr(transformers, case.processor)(**case.values)
    with torch.inference_mode():
        outputs = model(**processor(images=Image.fromarray(rgb), return_tensors="pt"))
    (found,) = processor.post_process_depth_estimation(outputs, [rgb.shape[:2]])
    return np.asarray(found["predicted_depth"])


def seen_by(model: Any, pixels: NDArray[Any]) -> Any:
    """The outputs of a model for normalised pixels [H, W, 3]."""
    with torch.inference_mode():
        return model(pixel_values=torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None])


def by_hand_zoedepth(model: Any, case: SmallArchitecture, rgb: NDArray[np.uint8]) -> Floats:
    height, width = rgb.shape[:2]
    processor = transformers.ZoeDepthImageProcessorPil(**case.values)
    with torch.inference_mode():
        outputs = model(**processor(images=Image.fromarray(rgb), return_tensors="pt"))
    raw: Floats = outputs.predicted_depth[0].numpy()
    top, left = int(np.sqrt(height / 2) * 3), int(np.sqrt(width / 2) * 3)
    full = cv2.resize(raw, (width + 2 * left, height + 2 * top), interpolation=cv2.INTER_CUBIC)
    return np.asarray(full[top:-top, left:-left], np.float32)


def by_hand_depth_pro(model: Any, _case: SmallArchitecture, rgb: NDArray[np.uint8]) -> Floats:
    height, width = rgb.shape[:2]
    pixels = rgb.astype(np.float32) / 127.5 - 1
    outputs = seen_by(model, cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_LINEAR))
    focal = 0.5 * width / np.tan(0.5 * np.radians(outputs.field_of_view.item()))
    inverse = outputs.predicted_depth[0].numpy() * width / focal
    full = cv2.resize(inverse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(1 / full.clip(1e-4, 1e4), np.float32)


def by_hand_chmv2(model: Any, _case: SmallArchitecture, rgb: NDArray[np.uint8]) -> Floats:
    pixels = (rgb / 255 - [0.420, 0.411, 0.296]) / [0.213, 0.156, 0.143]
    lacking = [-side % 16 for side in rgb.shape[:2]]
    raw = seen_by(model, np.pad(pixels, [(n // 2, n - n // 2) for n in lacking] + [(0, 0)])).predicted_depth[0].numpy()
    places = [np.linspace(0, there - 1, here) for there, here in zip(raw.shape, rgb.shape[:2], strict=True)]
    full: Floats = ndimage.map_coordinates(raw, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    return full


def by_hand_tipsv2(model: Any, _case: SmallArchitecture, rgb: NDArray[np.uint8]) -> Floats:
    seen = Image.fromarray(rgb).resize((56, 56), Image.Resampling.BILINEAR)  # torch's is within a level of Pillow's
    raw = seen_by(model, np.asarray(seen) / 255).predicted_depth[0].numpy()
    return np.asarray(cv2.resize(raw, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


Oracle = Callable[[Any, SmallArchitecture, NDArray[np.uint8]], Floats]
CASES: dict[str, tuple[Callable[[], SmallArchitecture], Oracle, float]] = {
    "depth_anything": (small.depth_anything, by_the_library, 1e-5),
    "metric": (lambda: small.depth_anything("metric"), by_the_library, 1e-5),
    "glpn": (small.glpn, by_the_library, 1e-5),
    "dpt": (small.dpt, by_the_library, 1e-5),
    "dpt of dinov2": (small.dpt_of_dinov2, by_the_library, 1e-4),
    "prompt": (small.prompt_depth_anything, by_the_library, 1e-5),
    "zoedepth": (small.zoedepth, by_hand_zoedepth, 1e-5),
    "depth_pro": (small.depth_pro, by_hand_depth_pro, 1e-4),
    "chmv2": (small.chmv2, by_hand_chmv2, 1e-4),
    "tipsv2": (small.tipsv2_dpt, by_hand_tipsv2, 2e-3),
}
QUICK = ("depth_anything", "glpn")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n not in QUICK)])
def test_depth_is_that_of_the_librarys_own_pipeline(name: str, tmp_path: Path) -> None:
    make, oracle, tolerance = CASES[name]
    case = make()
    model = case.save(tmp_path)
    network = open_transformers_folder(tmp_path, name)
    for shape in SHAPES:
        expected = oracle(model, case, picture(*shape))
        assert expected.std() > 1e-3 * abs(expected).max() or name == "depth_pro"
        found = predicted(network, picture(*shape))
        assert found.shape == shape
        np.testing.assert_allclose(found, expected, atol=tolerance * float(abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name != "chmv2"])
def test_openvino_and_bf16_compute_nearly_the_same(name: str) -> None:
    case = CASES[name][0]()
    networks = [
        TransformersDepth(case.model(), read_processing(case.config.model_type, case.values), name) for _ in range(3)
    ]
    expected = predicted(networks[0].eval(), picture(90, 130))
    exact = predicted(networks[1].eval(), picture(90, 130), engine="openvino")
    half = predicted(networks[2].eval(), picture(90, 130), precision="bf16")
    assert np.linalg.norm(exact - expected) < 1e-4 * np.linalg.norm(expected)
    assert np.linalg.norm(half - expected) < 0.1 * np.linalg.norm(expected)


def test_the_specification_says_what_the_configuration_says() -> None:
    found = {}
    for make in (small.dpt, small.dpt_of_dinov2, small.zoedepth, small.prompt_depth_anything, small.glpn):
        case = make()
        with torch.device("meta"):
            model = case.untrained()
        kind = case.config.model_type
        spec = TransformersDepth(model, read_processing(kind, case.values), make.__name__).spec
        found[spec.name] = (spec.quantity, spec.max_depth, spec.native_size, spec.tiles_allowed, spec.precise_layers)
        if make is small.dpt:
            assert spec.input_size(300, 200, 128) == (128, 128)
    assert found == {
        "dpt": ("inverse depth", None, 64, False, "model.head"),
        "dpt_of_dinov2": ("metres", None, 70, True, "model.head"),
        "zoedepth": ("metres", 10.0, 64, False, "model.metric_head"),
        "prompt_depth_anything": ("depth", None, 70, True, "model.head"),
        "glpn": ("metres", 10.0, 480, False, "model.head"),
    }


def test_a_field_of_view_makes_metres_and_a_focal_length() -> None:
    class FieldOfView(nn.Module):
        config = small.depth_pro().config

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 1)

        def forward(self, pixel_values: Tensor) -> SimpleNamespace:
            depth = pixel_values.mean(1) + 0.5
            return SimpleNamespace(predicted_depth=depth, field_of_view=torch.tensor([90.0, 60.0]))

    processing = read_processing("depth_pro", {"size": 8})
    found = TransformersDepth(FieldOfView(), processing, "fov").predict(torch.zeros(2, 3, 8, 8))
    assert found.focal_px is not None
    np.testing.assert_allclose(found.focal_px.detach(), [4, 4 * 3**0.5], rtol=1e-6)  # half a width over tan
    np.testing.assert_allclose(found.depth.detach()[:, 0, 0], [0.5 * 8 / 4, 0.5 * 8 / (4 * 3**0.5)], rtol=1e-6)


# --- as users run them ---


@pytest.fixture(scope="session")
def dpt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers") / "my-dpt"
    small.dpt().save(folder)
    return folder


@pytest.fixture
def folder(dpt_folder: Path, home: Path) -> Path:
    """A copy of the folder of a DPT, in the working folder."""
    return Path(shutil.copytree(dpt_folder, home / "my-dpt"))


MACHINE = ("--engine", "torch", "--precision", "fp32")


def test_image_and_python_take_a_folder(dacli: Run, home: Path, folder: Path) -> None:
    photo(home / "a.png", shape=(50, 80))
    run = dacli("image", "a.png", "--model", "./my-dpt", *MACHINE, "--save", "npy", "--json")
    assert run.code == 0, run.err
    record = run.objects[0]
    assert [record[key] for key in ("encoder", "model", "quantity", "network_size")] == [
        *("my-dpt", "my-dpt", "inverse depth", [64, 64])
    ]
    rgb = np.asarray(Image.open("a.png"))
    expected = by_the_library(small.dpt().model(), small.dpt(), rgb)
    np.testing.assert_allclose(np.load("a_depth.npy"), expected, atol=1e-5 * float(abs(expected).max()))
    assert load_again(folder, rgb).tobytes() == np.load("a_depth.npy").tobytes()


def load_again(folder: Path, rgb: NDArray[np.uint8]) -> Floats:
    return dacli.load(folder, engine="torch", precision="fp32", device="cpu")(rgb).depth


@pytest.mark.slow
def test_folder_video_eval_and_bench_take_a_folder(dacli: Run, home: Path, folder: Path) -> None:
    from tests.support.footage import make_clip

    (home / "in").mkdir()
    photo(home / "in/a.png", shape=(50, 80))
    clip = make_clip(home / "c.mp4")
    for command in (
        ("folder", "in", "out", "--model", str(folder)),
        ("video", clip, "--model", "./my-dpt"),
        ("eval", "--scenes", "2", "--model", "my-dpt"),
        ("bench", "--model", "my-dpt", "--sheet", "in/a.png", "--size", "64", "-o", "sheet.png"),
    ):
        run = dacli(*command)
        assert run.code == 0, (command, run.err)
    assert (home / "out/a_color.png").is_file()


# --- what is no such model ---


def rewrite(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


CONFIGS: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
        r"my-dpt is BertForMaskedLM, which is no depth model: depth models of transformers [\d.]+ are .*dpt, glpn",
    ),
    (
        {"model_type": "depth_future", "transformers_version": "9.1.0"},
        r"does not know depth_future, the architecture of my-dpt; its files were written by version 9.1.0: pip install",
    ),
    (
        {"model_type": "own", "auto_map": {"AutoModel": "own.Model"}},
        "my-dpt needs code from its repository, which dacli never runs",
    ),
    ({"model_type": None}, "my-dpt is not a model of Transformers: its config.json has no model_type"),
    ({"model_type": None, "model_name": "da3-large"}, "my-dpt is a Depth Anything 3 model of several views"),
)


@pytest.mark.parametrize(("values", "message"), CONFIGS)
def test_what_is_no_depth_model_is_one_line(values: dict[str, Any], message: str, folder: Path) -> None:
    rewrite(folder / "config.json", **values)
    with pytest.raises(DacliError, match=message):
        open_transformers_folder(folder, "my-dpt")


def test_damaged_folders_are_one_line(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 3}}')
    with pytest.raises(DacliError, match=r"preprocessor_config.json is not that of an image processor .*height"):
        open_transformers_folder(folder, "my-dpt")
    (folder / "preprocessor_config.json").write_text("[")
    with pytest.raises(DacliError, match=r"preprocessor_config.json is not the JSON of a model: download it again"):
        open_transformers_folder(folder, "my-dpt")
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"not JSON")
    with pytest.raises(DacliError, match=r"transformers cannot load my-dpt \(.*check or download its files again"):
        open_transformers_folder(folder, "my-dpt")


def test_weights_of_another_head_are_refused_and_missing_ones_not_filled_in(tmp_path: Path, folder: Path) -> None:
    segments: Any = transformers.DPTForSemanticSegmentation(small.dpt().config)
    segments.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(
        DacliError, match="segments is DPTForSemanticSegmentation, and depth is predicted by DPTForDepth"
    ):
        open_transformers_folder(tmp_path, "segments")
    weights = load_file(folder / "model.safetensors")
    del weights["head.head.4.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DacliError, match=r"my-dpt lacks 1 weights of DPTForDepthEstimation \(head.head.4.weight\)"):
        open_transformers_folder(folder, "my-dpt")


def test_a_model_of_several_inputs_names_them() -> None:
    class Prompted(nn.Module):
        def forward(self, pixel_values: Tensor, prompt_depth: Tensor, labels: Tensor | None = None) -> None: ...

    assert transformers_model.needed_inputs(Prompted()) == ["prompt_depth"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "./none"), "there is no folder ./none"),
        (("--model", "my-dpt", "--encoder", "vits"), "--model my-dpt and --encoder vits contradict each other"),
        (("--model", "hf:only-a-name"), "'hf:only-a-name' names no repository: write hf:ORG/NAME"),
        (("--model", "hf:../etc"), "'hf:../etc' names no repository"),
        (("--model", "my-dpt", "--tile", "on"), "my-dpt does not work in tiles: use --tile auto or off"),
        (("--model", "my-dpt", "--precision", "int8"), "my-dpt cannot be computed in int8"),
        (("--model", "hf:Intel/dpt-large"), "hf:Intel/dpt-large is not on this machine, and HF_HUB_OFFLINE is set"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_options_are_one_line(dacli: Run, home: Path, arguments: Any, message: str) -> None:
    photo(home / "a.png")
    run = dacli("image", "a.png", *arguments)
    assert run.code in (1, 2)
    assert len(run.errors) == 1
    assert message in run.errors[0]


@pytest.mark.usefixtures("folder")
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(home / "a.png")
    monkeypatch.setitem(sys.modules, "transformers", None)
    run = dacli("image", "a.png", "--model", "my-dpt")
    assert run.code == 1
    assert "needs the package transformers" in run.errors[0]
    assert run.errors[0].endswith('pip install "transformers>=5,<6"')
