"""PNG files: written with text, and their text and chunks read."""

import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from dacli.errors import DacliError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MAX_TEXT = 1 << 20  # bytes of a chunk of text, and of its decompressed text


def encode_png(array: npt.NDArray[np.uint8 | np.uint16], text: Mapping[str, str] | None = None) -> bytes:
    """Return the PNG file of 8- or 16-bit gray [H, W] or RGB [H, W, 3] with text by keyword (PNG 3rd ed., 11.3.3).

    Depth of 2 megapixels takes 7 ms in color and 11 ms in 16 bits; OpenCV takes 54 and 58 ms for files that are not
    smaller. Raises ValueError for a keyword that is not 1 to 79 Latin-1 characters, or a text with NUL.
    """
    height, width = array.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * array.itemsize, 0 if array.ndim == 2 else 2, 0, 0, 0)
    texts = (_text_chunk(keyword, value) for keyword, value in (text or {}).items())
    pixels = _chunk(b"IDAT", isal_zlib.compress(_filtered(array), 2))
    return b"".join((PNG_SIGNATURE, _chunk(b"IHDR", header), *texts, pixels, _chunk(b"IEND", b"")))


def _filtered(array: npt.NDArray[np.uint8 | np.uint16]) -> npt.NDArray[np.uint8]:
    """Return the filtered rows of bytes: each minus the row above it (PNG 3rd ed., 9.2, filter 2)."""
    rows = array.astype(array.dtype.newbyteorder(">"), order="C", copy=False).view(np.uint8).reshape(len(array), -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def read_png_text(data: bytes, name: str) -> dict[str, str]:
    """Return the text of a PNG file by keyword; text above 1 MiB is left out.

    Raises DacliError, with the file's name, for a file that is not a complete PNG or has damaged text.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise DacliError(f"{name} is not a PNG", "name a 16-bit PNG that dacli wrote")
    try:
        return dict(
            _keyword_and_text(data, kind, offset, length)
            for kind, offset, length in read_png_chunks(data)
            if kind in _TEXTS and length <= _MAX_TEXT
        )
    except EOFError:
        raise DacliError(f"{name} is truncated ({len(data)} bytes)", "copy it again") from None
    except (ValueError, IndexError, zlib.error) as error:
        raise DacliError(f"{name} is damaged ({error})", "copy it again") from error


def read_png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, offset and length of every chunk up to IEND (PNG 3rd ed., 5.3).

    Raises EOFError for a truncated chunk, ValueError for a critical chunk or a text that does not match its checksum.
    """
    offset, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        if offset + 12 > len(data):
            raise EOFError
        length, kind = struct.unpack_from(">I4s", data, offset)
        if offset + 12 + length > len(data):
            raise EOFError
        if (kind[:1].isupper() or kind in _TEXTS) and not _checksum_matches(data, offset, length):
            raise ValueError("a part does not match its checksum")
        yield kind, offset, length
        offset += 12 + length


def _keyword_and_text(data: bytes, kind: bytes, offset: int, length: int) -> tuple[str, str]:
    keyword, text = data[offset + 8 : offset + 8 + length].split(b"\0", 1)
    encoding = "latin-1"
    if kind == b"zTXt":
        text = _decompressed_text(text[1:])
    elif kind == b"iTXt":
        _, _, content = text[2:].split(b"\0", 2)
        text, encoding = _decompressed_text(content) if text[0] else content, "utf-8"
    return keyword.decode("latin-1"), text.decode(encoding)


def _checksum_matches(data: bytes, offset: int, length: int) -> bool:
    end = offset + 8 + length
    stored: tuple[int, ...] = struct.unpack_from(">I", data, end)
    return stored == (zlib.crc32(memoryview(data)[offset + 4 : end]),)


def _decompressed_text(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    text = stream.decompress(data, _MAX_TEXT)
    if not stream.eof:
        raise ValueError("a compressed text is damaged or too long")
    return text


def _text_chunk(keyword: str, text: str) -> bytes:
    key = keyword.encode("latin-1")
    if not 1 <= len(key) <= 79 or "\0" in keyword + text:
        raise ValueError(f"not a text that PNG can hold: {keyword!r}")
    try:
        kind, body = b"tEXt", key + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, body = b"iTXt", key + b"\0\0\0\0\0" + text.encode()
    return _chunk(kind, body)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
