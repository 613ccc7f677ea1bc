"""Which input and which settings an output was made from."""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dacli.batch.settings import RunSettings
from dacli.types import DepthArray


class FileStamp(NamedTuple):
    """A file's size in bytes and time of change in nanoseconds; -1, -1 for a file that is not there."""

    size: int
    mtime_ns: int


def stamp_file(path: Path) -> FileStamp:
    """Return the stamp of a file."""
    with contextlib.suppress(OSError, ValueError):
        info = path.stat()
        return FileStamp(info.st_size, info.st_mtime_ns)
    return FileStamp(-1, -1)


@dataclass(frozen=True)
class Fingerprint:
    """What an output was made from: a hash of the input's stamp and the settings, and the CRC-32 of its float depth.

    NPY files have no checksum of their own, so the records of a picture's outputs hold that of the depth.
    """

    digest: str
    depth_crc: int | None = None

    def __str__(self) -> str:
        return self.digest if self.depth_crc is None else f"{self.digest}+{self.depth_crc:08x}"

    @classmethod
    def parse(cls, text: str) -> "Fingerprint":
        """Return the fingerprint that str() wrote; any other text gives one that matches nothing."""
        digest, _, crc = text.partition("+")
        with contextlib.suppress(ValueError):
            return cls(digest, int(crc, 16) if crc else None)
        return cls("")

    def covers(self, wanted: "Fingerprint") -> bool:
        """Return whether an output with this fingerprint is as `wanted`; a checksum counts only if `wanted` has one."""
        same_depth = wanted.depth_crc is None or self.depth_crc == wanted.depth_crc
        return self.digest == wanted.digest != "" and same_depth


def fingerprint_picture(source: FileStamp, settings: RunSettings, exposures: Sequence[FileStamp] = ()) -> Fingerprint:
    """Return the fingerprint of outputs of a picture, or of several exposures that are merged."""
    further = [number for stamp in exposures for number in stamp]
    return hash_settings([*source, *further, settings.decisive])


def hash_settings(values: Sequence[object]) -> Fingerprint:
    """Return the fingerprint of values that JSON can hold."""
    return Fingerprint(hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16])


def depth_checksum(depth: DepthArray) -> int:
    """Return the CRC-32 of depth [H, W]."""
    return zlib.crc32(np.ascontiguousarray(depth).data)


def depth_checksum_of_file(path: Path) -> int:
    """Return the CRC-32 of the depth in an .npy; -1, which no depth has, for a file that holds none."""
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
        return zlib.crc32(np.ascontiguousarray(np.load(path)).data)
    return -1
