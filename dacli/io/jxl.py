"""The size of a JPEG XL picture, read from its header: the package that reads these files decodes them at once."""

from collections.abc import Iterator

JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")  # a bare codestream, and a file of boxes
_CODESTREAM = b"\xff\x0a"
_SIZE_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height


class _Bits:
    """Bits of bytes, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def read(self, count: int) -> int:
        """Return the next bits as a number; raise EOFError after the last one."""
        if count > self._left:
            raise EOFError
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value


def read_jxl_size(data: bytes) -> tuple[int, int]:
    """Return width and height (ISO/IEC 18181-1, SizeHeader); raise EOFError for a file without them."""
    bits = _Bits(_codestream_start(data))
    is_small = bits.read(1) == 1
    height = _read_length(bits, is_small=is_small)
    ratio = bits.read(3)
    if ratio == 0:
        return _read_length(bits, is_small=is_small), height
    wide, high = _RATIOS[ratio - 1]
    return height * wide // high, height


def _read_length(bits: _Bits, *, is_small: bool) -> int:
    return 8 * (bits.read(5) + 1) if is_small else 1 + bits.read(_SIZE_BITS[bits.read(2)])


def _codestream_start(data: bytes) -> bytes:
    """Return the first bytes after the mark of the codestream, which may be in a box, whole or in parts."""
    if not data.startswith(_CODESTREAM):
        data = next((body for kind, body in _boxes(data) if kind in (b"jxlc", b"jxlp")), b"")
        data = data if data.startswith(_CODESTREAM) else data[4:]  # a part begins with its number
    if not data.startswith(_CODESTREAM):
        raise EOFError
    return data[2:32]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the first bytes of the boxes of a file."""
    at = 0
    while at + 8 <= len(data):
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        yield data[at + 4 : at + 8], data[at + head : at + head + 64]
        if length < head:  # 0 is a box until the end of the file
            return
        at += length
