"""Checkpoint files of Depth Anything: read without running code, recognised by their shapes, and loaded."""

import codecs
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models.depth_anything import ENCODERS, DepthAnything
from dacli.models.state_dicts import find_state

DOWNLOAD_AGAIN = "download it again"
NAMED_KEYS = 3  # how many keys an error names

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: a pickled magic number
ENCODER_WIDTHS = {row.dim: name for name, row in ENCODERS.items()}

# Transformers key → official key, as regular expressions applied one after another.
KEY_RENAMES = (
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "pretrained.patch_embed.proj."),
    (r"^backbone\.embeddings\.position_embeddings$", "pretrained.pos_embed"),
    (r"^backbone\.embeddings\.", "pretrained."),
    (r"^backbone\.encoder\.layer\.", "pretrained.blocks."),
    (r"^backbone\.layernorm\.", "pretrained.norm."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    # Version 5 of transformers writes the older names to files, but has the newer ones in memory.
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(?:attention\.query|q_proj)\.", ".attn.query."),
    (r"\.attention\.(?:attention\.key|k_proj)\.", ".attn.key."),
    (r"\.attention\.(?:attention\.value|v_proj)\.", ".attn.value."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"depth_head.projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"depth_head.resize_layers.\1."),
    *((rf"^neck\.convs\.{k - 1}\.", f"depth_head.scratch.layer{k}_rn.") for k in range(1, 5)),
    *((rf"^neck\.fusion_stage\.layers\.{4 - k}\.", f"depth_head.scratch.refinenet{k}.") for k in range(1, 5)),
    (r"(\.refinenet\d)\.projection\.", r"\1.out_conv."),
    (r"\.residual_layer([12])\.convolution([12])\.", r".resConfUnit\1.conv\2."),
    (r"^head\.conv1\.", "depth_head.scratch.output_conv1."),
    (r"^head\.conv2\.", "depth_head.scratch.output_conv2.0."),
    (r"^head\.conv3\.", "depth_head.scratch.output_conv2.2."),
)


def load_checkpoint(
    path: Path,
    encoder: str | None = None,
    version: str = "v2",
    max_depth: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> DepthAnything:
    """Return the network of a checkpoint file on the CPU, in `dtype`, for inference.

    The file may be a .pth or .safetensors (recognised by content), in the official or the transformers layout, of any
    float type, bare or wrapped as training scripts save it. The encoder is recognised from the shapes; `encoder` only
    says which one is expected. The keys of relative and metric (metres up to `max_depth`) and of V1 and V2 checkpoints
    are the same, so the caller says which it is. Weights stay memory-mapped where their dtype allows it: do not write
    to the file meanwhile. Raises DacliError for every file that is not such a checkpoint; no code in a file is run.
    """
    name = path.name
    weights = _official(find_state(read_weights(path), name), name)
    found = _recognise(weights, name)
    if encoder not in (None, found):
        raise DacliError(f"{name} holds {found}, not {encoder}", f"use --encoder {found}")
    with torch.device("meta"):
        network = DepthAnything(found, version, max_depth)
    fill_network(network, weights, found, name, dtype)
    return network


def fill_network(
    network: nn.Module, weights: Mapping[str, Tensor], title: str, name: str, dtype: torch.dtype = torch.float32
) -> None:
    """Give a network exactly its own weights, in `dtype`, for inference; raise DacliError for others, or for NaN.

    `title` is how errors name the network, `name` the file.
    """
    _check(weights, network.state_dict(), title, name)
    network.load_state_dict({key: _finite(value.to(dtype), key, name) for key, value in weights.items()}, assign=True)
    network.eval().requires_grad_(requires_grad=False)


def read_weights(path: Path) -> Any:
    """Return what a .pth or .safetensors file holds, tensors on the CPU and memory-mapped where the format allows it.

    Raises DacliError when the file cannot be read, is something else, is damaged, or contains code.
    """
    head = _head(path)
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return _unpickle(path, mmap=True)
    if head.startswith(LEGACY_TORCH):
        return _unpickle(path, mmap=False)
    if head[8:9] == b"{":  # after eight bytes of length, a safetensors file begins with JSON
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise DacliError(
                f"{path.name} is a damaged or truncated safetensors file ({error})", DOWNLOAD_AGAIN
            ) from error
    raise _explain_other_file(path.name, head)


def _head(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DacliError(f"{path} is a folder", "name the checkpoint file itself")
        if not stat.S_ISREG(mode):
            raise DacliError(f"{path} is not a regular file", "name a .pth or .safetensors file")
        with path.open("rb") as file:
            return file.read(512)
    except FileNotFoundError as error:
        raise DacliError(f"there is no file {path}", "check the path of the weights") from error
    except OSError as error:
        raise DacliError(f"cannot read {path} ({error.strerror})", "check the path and its permissions") from error


def _explain_other_file(name: str, head: bytes) -> DacliError:
    """Return the error for a file that is not a checkpoint."""
    if not head:
        return DacliError(f"{name} is empty", DOWNLOAD_AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return DacliError(f"{name} is a Git LFS pointer, not the weights", "run git lfs pull, or download the file")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head|!--)", head, re.IGNORECASE):
        return DacliError(f"{name} is a web page, not weights", "download the file itself, not the page that shows it")
    if head.startswith(b"\x80"):
        return DacliError(
            f"{name} is a plain Python pickle, which may contain code, and was not opened",
            "save the weights with torch.save or safetensors",
        )
    return DacliError(f"{name} is not a checkpoint", "give a .pth or .safetensors file of Depth Anything")


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise DacliError(f"{path.name} is truncated or damaged", DOWNLOAD_AGAIN) from error
    if "constants.pkl" in names:
        raise DacliError(
            f"{path.name} is a TorchScript program, which contains code, and was not opened",
            "give a checkpoint that holds only weights",
        )
    if "data.pkl" not in names:
        raise DacliError(f"{path.name} is a zip archive, not a checkpoint", "unpack it and give the .pth file inside")


def _numpy_numbers() -> Iterator[Any]:
    """Yield what a pickle of NumPy's numbers and arrays of numbers names: best scores, for example. It runs no code."""
    for package in ("numpy._core.multiarray", "numpy.core.multiarray"):
        yield (np.float64(0).__reduce__()[0], f"{package}.scalar")
        yield (np.zeros(1).__reduce__()[0], f"{package}._reconstruct")
    yield from (np.ndarray, np.dtype, codecs.encode)
    yield from (type(np.dtype(kind)) for kind in "?bhilqBHILQefd")


def _unpickle(path: Path, *, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: it loads, or the error below says why not
            with torch.serialization.safe_globals(list(_numpy_numbers())):
                if path.suffix == ".safetensors":  # by which torch would choose another reader
                    with path.open("rb") as file:
                        return torch.load(file, map_location="cpu", weights_only=True)
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        code = re.search(r"\bGLOBAL (\S+)", str(error))
        if code is None:
            raise DacliError(f"{path.name} is damaged", DOWNLOAD_AGAIN) from error
        raise DacliError(
            f"{path.name} contains code ({code[1]}) and was not opened",
            "save only its weights: torch.save(model.state_dict(), FILE)",
        ) from error
    except Exception as error:  # damaged bytes can make an unpickler raise anything
        raise DacliError(f"{path.name} is truncated or damaged", DOWNLOAD_AGAIN) from error


def _official(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the weights under the official keys."""
    if any(".motion_modules." in key for key in state):
        raise DacliError(
            f"{name} is a Video Depth Anything checkpoint, another network",
            "give one of Depth Anything V1 or V2",
        )
    if not any(key.startswith("backbone.embeddings.") for key in state):
        return state
    weights = {_official_key(key): value for key, value in state.items()}
    for key in [key for key in weights if ".attn.query." in key]:
        parts = [key.replace(".query.", part) for part in (".query.", ".key.", ".value.")]
        if len({weights[part].shape if part in weights else None for part in parts}) == 1:
            weights[key.replace(".query.", ".qkv.")] = torch.cat([weights.pop(part) for part in parts])
    return weights


def _official_key(key: str) -> str:
    for pattern, replacement in KEY_RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _recognise(weights: Mapping[str, Tensor], name: str) -> str:
    """Return the name of the encoder, which its width determines."""
    hint = "give a checkpoint of Depth Anything V1 or V2 (vits, vitb, vitl or vitg)"
    width = next((value.shape[-1] for key, value in weights.items() if re.match(r"pretrained\..*norm", key)), None)
    if width is None:
        keys = f"keys such as {_some(weights)}" if weights else "no tensors"
        raise DacliError(f"{name} holds no Depth Anything network: {keys}", hint)
    if width not in ENCODER_WIDTHS:
        raise DacliError(f"{name} holds an unknown encoder, {width} wide", hint)
    return ENCODER_WIDTHS[width]


def _check(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], encoder: str, name: str) -> None:
    """Raise DacliError unless the keys and shapes are exactly those of the network."""
    hint = f"the file is not a complete, unchanged {encoder} of Depth Anything"
    missing = expected.keys() - weights.keys()
    if missing:
        raise DacliError(f"{name} lacks {len(missing)} of {len(expected)} weights: {_some(missing)}", hint)
    unexpected = weights.keys() - expected.keys()
    if unexpected:
        raise DacliError(f"{name} holds {len(unexpected)} weights {encoder} does not have: {_some(unexpected)}", hint)
    for key, want in expected.items():
        value = weights[key]
        if value.shape != want.shape:
            shape, wanted = list(value.shape), list(want.shape)
            raise DacliError(f"{name}: {key} has shape {shape}, in {encoder} it has {wanted}", hint)
        if value.is_meta or value.layout is not torch.strided or not value.is_floating_point():
            raise DacliError(f"{name}: {key} holds no plain floats", "quantised and sparse weights cannot be read")


def _some(keys: Mapping[str, Tensor] | set[str]) -> str:
    return ", ".join(sorted(keys)[:NAMED_KEYS]) + (", …" if len(keys) > NAMED_KEYS else "")


def _finite(value: Tensor, key: str, name: str) -> Tensor:
    if not all(bool(extreme.isfinite()) for extreme in value.aminmax()):
        raise DacliError(f"{name}: {key} holds infinity or NaN", "the file is damaged or its training diverged")
    return value
