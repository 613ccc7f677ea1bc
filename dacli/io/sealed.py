"""Files that carry a record as text and a checksum of all their bytes, for formats that have no checksum of their own.

The record is JSON in the file, in whatever place the format has for text; its last key is the CRC-32 of the file with
zeros in place of the checksum.
"""

import re

from isal import isal_zlib

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD

_OPEN = b', "crc32": "00000000"}'
SEAL_LENGTH = len(_OPEN)  # characters at the end of a text of open_record()
_RECORD_START = b'{"black": '
_CHECKSUM = slice(-10, -2)  # of _OPEN, in any sealed record
_SEAL = re.compile(rb', "crc32": "[0-9a-f]{8}"\}')
_SEALED = re.compile(rb'\{"black": [^\n\0]{1,65536}?, "crc32": "[0-9a-f]{8}"\}')
_SEARCHED = 1 << 20  # bytes at either end of a file where its record may be


def open_record(text: str) -> str:
    """Return the JSON text of a record with a place for the checksum of its file."""
    return text.removesuffix("}") + _OPEN.decode()


def seal_file(data: bytes) -> bytes:
    """Return a file, which holds one text of open_record(), with its checksum."""
    start = data.index(_OPEN)
    rest = memoryview(data)
    return b"".join((rest[:start], _with_checksum(_OPEN, isal_zlib.crc32(data)), rest[start + len(_OPEN) :]))


def read_sealed_text(data: bytes, name: str) -> dict[str, str]:
    """Return the record in a file by its keyword; nothing if it has none.

    Raises DacliError, with the file's name, if the file does not match the checksum in it.
    """
    match = _find_at_ends(_SEALED, data)
    if match is None and _RECORD_START in data[-_SEARCHED:]:  # PFM has its record at the end, which may be cut short
        raise DacliError(f"{name} is cut short", "make it again with dacli")
    if match is None:
        return {}
    check_seal(data, name)
    return {RECORD_KEYWORD: match[0].decode("ascii", "replace")}


def check_seal(data: bytes, name: str) -> None:
    """Raise DacliError, with the file's name, if a file has no checksum, or another one than its bytes."""
    match = _find_at_ends(_SEAL, data)
    if match is not None:
        blank = bytearray(data)
        blank[match.start() : match.end()] = _OPEN
        if _with_checksum(_OPEN, isal_zlib.crc32(blank)) == match[0]:
            return
    raise DacliError(f"{name} is damaged", "make it again with dacli")


def _find_at_ends(pattern: re.Pattern[bytes], data: bytes) -> re.Match[bytes] | None:
    return pattern.search(data, 0, _SEARCHED) or pattern.search(data, max(0, len(data) - _SEARCHED))


def _with_checksum(text: bytes, checksum: int) -> bytes:
    return text[: _CHECKSUM.start] + f"{checksum:08x}".encode() + text[_CHECKSUM.stop :]
