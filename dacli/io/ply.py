"""Binary PLY files of points with normals and colors, and a record in the comments of their header."""

import re

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.io.sealed import SEAL_LENGTH, check_seal

POINT = np.dtype([(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [("rgb", "u1", 3)])
_COLORS = ("red", "green", "blue")
_LINE = 200  # characters of a comment; some readers take 255 in a line
_HEADER = re.compile(rb"ply\nformat binary_little_endian 1.0\n((?:comment [^\n]*\n)*)element vertex (\d{1,12})\n")
_RECORD_LINE = b"comment - "


def encode_ply(points: npt.NDArray[np.void], comment: str, record: str) -> bytes:
    """Return the PLY file of points [N] of the type POINT, with a comment, and the text of open_record()."""
    properties = [f"property float {name}" for name in POINT.names or () if name != "rgb"]
    properties += [f"property uchar {name}" for name in _COLORS]
    body, seal = record[:-SEAL_LENGTH], record[-SEAL_LENGTH:]
    parts = [*(body[start : start + _LINE] for start in range(0, len(body), _LINE)), seal]
    lines = ["ply", "format binary_little_endian 1.0", f"comment {comment}"]
    lines += [_RECORD_LINE.decode() + part for part in parts]
    header = "\n".join([*lines, f"element vertex {len(points)}", *properties, "end_header", ""])
    return header.encode("ascii") + points.tobytes()


def read_ply_text(data: bytes, name: str) -> dict[str, str]:
    """Return the record of a PLY by its keyword; nothing if it has none.

    Raises DacliError, with the file's name, for a file that is damaged or no PLY of this kind.
    """
    match = _HEADER.match(data)
    if match is None or len(data) < int(match[2]) * POINT.itemsize:
        raise DacliError(f"{name} is not a whole PLY of points", "make it again with dacli")
    lines = [line for line in match[1].splitlines() if line.startswith(_RECORD_LINE)]
    if not lines:
        return {}
    check_seal(data, name)
    return {RECORD_KEYWORD: b"".join(line.removeprefix(_RECORD_LINE) for line in lines).decode("ascii", "replace")}
