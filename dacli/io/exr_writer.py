"""OpenEXR files of one channel of floats (openexr.com/en/latest/OpenEXRFileLayout.html), with ZIP compression.

OpenEXR's own writer takes four times as long: its deflate is slower than that of isal, as in PNGs.
"""

import struct
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

_START = struct.pack("<ii", 20000630, 2)  # magic number, and version 2: scan lines of one part
_ROWS = 16  # of a block with ZIP compression
_ZIP = 3
_HALF, _FLOAT = 1, 2  # types of pixels
_WORTH = 0.9  # of the size of a block: one that shrinks less says that the next ones will not either
_UNTRIED = 6  # blocks of which only one is tried then
_LEVEL = 1  # of isal: 2 and 3 save less than 3 percent of depth

Attributes = Mapping[str, float | str]  # of a header, by name


def encode_exr(
    pixels: npt.NDArray[np.float16 | np.float32], channel: str, attributes: Attributes | None = None
) -> bytes:
    """Return the EXR file of one channel [H, W] of 16- or 32-bit floats, with further attributes in its header.

    Raises ValueError for a name that EXR cannot hold.
    """
    height, width = pixels.shape
    blocks = list(_compressed_blocks(pixels))
    header = _header(height, width, channel, _HALF if pixels.dtype == np.float16 else _FLOAT, attributes or {})
    start = len(header) + 8 * len(blocks)
    offsets = start + np.cumsum([0, *map(len, blocks)], dtype="<u8")[:-1]
    return b"".join((header, offsets.tobytes(), *blocks))


def _header(height: int, width: int, channel: str, pixel_type: int, attributes: Attributes) -> bytes:
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = _name(channel) + struct.pack("<iB3xii", pixel_type, 0, 1, 1) + b"\0"
    values = {
        "channels": ("chlist", channels),
        "compression": ("compression", bytes([_ZIP])),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", struct.pack("<2f", 0, 0)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
        **{name: _attribute(value) for name, value in attributes.items()},
    }
    entries = (
        _name(name) + _name(kind) + struct.pack("<i", len(value)) + value for name, (kind, value) in values.items()
    )
    return b"".join((_START, *entries, b"\0"))


def _attribute(value: float | str) -> tuple[str, bytes]:
    return ("string", value.encode()) if isinstance(value, str) else ("float", struct.pack("<f", value))


def _name(text: str) -> bytes:
    data = text.encode("ascii")
    if not 1 <= len(data) <= 31 or 0 in data:
        raise ValueError(f"not a name in EXR: {text!r}")
    return data + b"\0"


def _compressed_blocks(pixels: npt.NDArray[np.float16 | np.float32]) -> Iterator[bytes]:
    """Yield blocks of rows with their first row and size, compressed or, if that saves nothing, as they are.

    The last bits of predicted floats are noise. After a block that hardly shrinks, some are not tried.
    """
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)).view(np.uint8)
    skipped = 0
    for top in range(0, len(rows), _ROWS):
        raw = rows[top : top + _ROWS].reshape(-1)
        data = raw.tobytes() if skipped else isal_zlib.compress(_predicted(raw), _LEVEL)
        if len(data) > _WORTH * raw.size:
            skipped = (skipped + 1) % _UNTRIED
        block = data if len(data) < raw.size else raw.tobytes()
        yield struct.pack("<ii", top, len(block)) + block


def _predicted(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return bytes as ZIP compresses them: the even ones, then the odd ones, each minus the one before, plus 128."""
    middle = (raw.size + 1) // 2
    parted = np.empty(raw.size, np.uint8)
    parted[:middle], parted[middle:] = raw[::2], raw[1::2]
    predicted = np.empty(raw.size, np.uint8)
    predicted[0] = parted[0]
    np.subtract(parted[1:], parted[:-1], out=predicted[1:])
    predicted[1:] += 128
    return predicted
