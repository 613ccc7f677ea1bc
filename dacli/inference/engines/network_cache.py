"""Converted networks kept on disk: named by weights and code, checked by a checksum, one version at a time."""

import contextlib
import hashlib
import inspect
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from isal import isal_zlib
from numpy.typing import NDArray

from dacli import paths
from dacli.io import files
from dacli.models.spec import DepthModel


def name_cached_network(network: DepthModel, precision: str, versions: Iterable[str], sources: Iterable[str]) -> str:
    """Return the name of a network's file in a precision, without its extension.

    It depends on the weights, on `versions`, and on all code that runs the network or stands in the files `sources`.
    """
    weights = hashlib.sha256(f"{network.spec.version} {network.spec.max_depth}".encode())
    for name, value in network.state_dict().items():
        content = crc32_bytes(value.contiguous().reshape(-1).view(torch.uint8).numpy())
        weights.update(f"{name} {list(value.shape)} {content.hex()}\n".encode())
    code = hashlib.sha256("\n".join(versions).encode())
    for source in sorted({__file__, *sources} | {inspect.getfile(type(part)) for part in network.modules()}):
        code.update(Path(source).read_bytes())
    return f"{weights.hexdigest()[:16]}_{precision}-{code.hexdigest()[:16]}"


def cached_network_path(engine: str, name: str) -> Path:
    """Return the path of an engine's file in the cache."""
    return paths.cache_folder() / engine / name


def read_checked(path: Path) -> bytes:
    """Return what write_to_cache() wrote; raise OSError or ValueError if it is missing or damaged."""
    content = path.read_bytes()
    if crc32_bytes(memoryview(content)[:-4]) != content[-4:]:
        raise ValueError(f"{path} is damaged")
    return content[:-4]


def write_to_cache(model: bytes, path: Path) -> None:
    """Write a converted network to the cache, and remove those that other versions made from the same weights."""
    files.write_file(path, model + crc32_bytes(model))
    for old in path.parent.glob(f"{path.name.partition('-')[0]}-*"):
        if old != path:
            with contextlib.suppress(OSError):
                old.unlink()


def crc32_bytes(content: "bytes | memoryview | NDArray[np.uint8]") -> bytes:
    """Return the CRC-32 as four bytes, little-endian."""
    return struct.pack("<I", isal_zlib.crc32(content))
