"""Seconds a photo of a Transformers model by its own pipeline and by dacli, in turns, with seeded random weights."""

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import dacli

TURNS = 5
PROCESSOR = {"size": {"height": 384, "width": 384}, "image_processor_type": "DPTImageProcessor"}


def write_model(folder: Path) -> None:
    """Write a DPT with a ViT-B, the size of MiDaS's base model, to a folder."""
    transformers: Any = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = transformers.DPTConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        backbone_out_indices=[2, 5, 8, 11],
        neck_hidden_sizes=[96, 192, 384, 768],
        is_hybrid=False,
    )
    transformers.DPTForDepthEstimation(config).eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


def runners(folder: Path, photo: Image.Image) -> Mapping[str, Callable[[], object]]:
    """Return what takes the depth of the photo, by name."""
    transformers: Any = importlib.import_module("transformers")
    own = transformers.pipeline("depth-estimation", model=str(folder), device="cpu")
    torch_depth = dacli.load(folder, engine="torch", precision="fp32", device="cpu")
    openvino_depth = dacli.load(folder, engine="openvino", precision="fp32", device="cpu")
    return {
        "the pipeline": lambda: own(photo),
        "dacli, torch": lambda: torch_depth(photo),
        "dacli, OpenVINO": lambda: openvino_depth(photo),
    }


def main() -> None:
    """Print the median seconds of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transformers_pipeline", description=__doc__)
    parser.add_argument("photo", type=Path)
    photo = Image.open(parser.parse_args().photo).convert("RGB")
    with tempfile.TemporaryDirectory() as name:
        write_model(Path(name))
        found = runners(Path(name), photo)
        seconds: dict[str, list[float]] = {key: [] for key in found}
        for turn in range(TURNS + 1):
            for key, run in found.items():
                started = time.perf_counter()
                run()
                if turn:  # the first warms up
                    seconds[key].append(time.perf_counter() - started)
    for key, values in seconds.items():
        sys.stdout.write(f"{key}: {statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})\n")


if __name__ == "__main__":
    main()
