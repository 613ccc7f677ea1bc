"""What tests of commands share: the result of a command, and pictures to run it on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALL = ("--encoder", "tiny", "--size", "32")
KINDS = ("color", "gray", "png16", "npy", "side")


@dataclass
class Result:
    """The exit code of a command, its standard output, and the lines of its standard error."""

    code: int
    out: str
    err: list[str]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err if line.startswith("error:")]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects of its output, but not the summary."""
        return [row for row in map(json.loads, self.out.splitlines()) if "summary" not in row]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary, which is the last JSON object."""
        summary: dict[str, Any] = json.loads(self.out.splitlines()[-1])["summary"]
        return summary


Run = Callable[..., Result]


def photo(path: Path, seed: int = 0, shape: tuple[int, int] = (24, 36)) -> Path:
    """Write a picture of random pixels [H, W] in the format of the path's suffix."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def read_bgr(path: Path) -> NDArray[Any]:
    """Return a picture as OpenCV reads it: BGR [H, W, 3]."""
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def files_below(folder: Path) -> list[str]:
    """Return the paths of all files and folders below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
