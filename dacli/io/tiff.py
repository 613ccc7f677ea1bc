"""TIFF files: their pages, whether they are complete, camera RAW files that look like them, and who decodes them."""

import io
import logging
import struct
from typing import Any

from dacli.errors import DacliError
from dacli.io import image_errors

DNG_VERSION = 50706  # tag
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
_RAW_PHOTOMETRICS = (32803, 34892)  # a color filter array, and linear raw
_UINT, _INT, _FLOAT = 1, 2, 3  # SampleFormat
# (photometric, samples) of what Pillow reads in up to 8 bits, and of what OpenCV reads in 16 bits.
_PILLOW_LAYOUTS = {(0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (3, 1), (5, 4), (6, 3), (8, 3)}
_OPENCV_LAYOUTS = {(2, 3), (2, 4)}
_TYPE_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)  # bytes, by the number of a field's type (TIFF 6.0, section 2)
_TIFFFILE_COMPRESSIONS = (1, 8, 32773, 32946, 34925)  # that it undoes by itself: none, deflate, PackBits, LZMA
_ICC_PROFILE = 34675  # tag
_RGB_PHOTOMETRICS = (2, 3, 6)  # RGB, palette, YCbCr
_GRAY = (0, 1)  # photometric: white is zero, black is zero

logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False  # what is wrong with a file is reported by dacli


def is_tiff(data: bytes) -> bool:
    """Return whether a file's bytes begin as those of TIFF or BigTIFF."""
    return data[:4] in _STARTS


def holds_raw(data: bytes) -> bool:
    """Return whether a TIFF file is a RAW file of a camera: with pixels of a color filter array, or a DNG."""
    try:
        pages = _open_pages(data)
        is_raw = DNG_VERSION in pages[0].tags or pages[0].photometric in _RAW_PHOTOMETRICS
        return is_raw or next(_full_pages(pages)).photometric in _RAW_PHOTOMETRICS
    except Exception:  # noqa: BLE001 - read_tiff_page() reports what is wrong with the file
        return False


def read_tiff_page(data: bytes, name: str) -> Any:
    """Return the first page of a TIFF file that is no thumbnail, as tifffile's TiffPage, without its pixels.

    Raises DacliError for a file without a whole page.
    """
    try:
        _check_directory_is_whole(data)
        pages = _open_pages(data)
        page = next((page for page in _full_pages(pages) if not page.is_reduced), pages[0])
    except EOFError as error:
        raise image_errors.decoding_error(data, name, error) from error
    except Exception as error:
        raise image_errors.unknown_format_error(data, name) from error
    if not page.imagewidth or not page.imagelength or page.imagedepth != 1:
        raise image_errors.unknown_format_error(data, name)
    return page


def _open_pages(data: bytes) -> Any:
    import tifffile  # 90 ms, which only a TIFF needs

    return tifffile.TiffFile(io.BytesIO(data)).pages


def _full_pages(pages: Any) -> Any:
    """Yield the pages up to the first that is no thumbnail; most files need only the first one to be read."""
    yield pages[0]
    if pages[0].is_reduced:
        yield from (pages[number] for number in range(1, len(pages)))


def _check_directory_is_whole(data: bytes) -> None:
    """Raise EOFError if the first directory of a TIFF file, or what its entries point to, lies beyond the file's end.

    BigTIFF files are not checked.
    """
    if data[2:4] not in (b"*\0", b"\0*"):
        return
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)
        for index in range(count):
            _, kind, number, offset = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * index)
            size = number * (_TYPE_SIZES[kind] if kind < len(_TYPE_SIZES) else 1)
            if size > 4 and offset + size > len(data):
                raise EOFError
    except struct.error:
        raise EOFError from None


def count_tiff_pages(data: bytes) -> int:
    """Return how many pages of a TIFF file are no thumbnails and no masks."""
    pages = _open_pages(data)
    return sum(not (pages[number].subfiletype & 0b101) for number in range(len(pages)))


def check_tiff_is_whole(page: Any, data: bytes) -> None:
    """Raise EOFError if a part of a page is missing, or lies beyond the end of the file.

    Decoders would take what their memory held before in its place.
    """
    counts, needed = page.databytecounts, 1
    for each in page.chunked:
        needed *= each
    if min(len(page.dataoffsets), len(counts)) < needed:
        raise EOFError
    if any(offset + count > len(data) for offset, count in zip(page.dataoffsets, counts, strict=False)):
        raise EOFError
    bits = page.imagewidth * page.imagelength * sum(_sample_bits(page))
    if page.compression == 1 and not page.is_subsampled and 8 * sum(counts) < bits:
        raise EOFError


def reads_by_pillow(page: Any) -> bool:
    """Return whether Pillow decodes a page right: up to 8 bits, and gray of more with what tifffile cannot decompress.

    Gray of 32 bits in big-endian order is not among them: Pillow does not turn its bytes.
    """
    bits, count = set(_sample_bits(page)), page.samplesperpixel
    if page.parent.is_bigtiff and page.parent.byteorder == ">":
        return False
    if page.sampleformat == _UINT and bits <= {1, 2, 4, 8} and (int(page.photometric), count) in _PILLOW_LAYOUTS:
        return count == 1 or (bits == {8} and (count > 2 or page.planarconfig == 1))
    if page.photometric not in _GRAY or count != 1 or page.compression in _TIFFFILE_COMPRESSIONS:
        return False
    return (bits == {16} and page.sampleformat == _UINT) or (bits == {32} and page.parent.byteorder == "<")


def reads_by_opencv(page: Any) -> bool:
    """Return whether OpenCV decodes a page right: 16-bit color whose samples are together; it turns it upright too.

    Of planes that are stored one after the other OpenCV and Pillow read only a third, and memory of other pictures.
    """
    layout = (int(page.photometric), page.samplesperpixel)
    samples_together = page.planarconfig == 1 and page.index == 0
    is_deep = set(_sample_bits(page)) == {16} and page.sampleformat == _UINT
    return layout in _OPENCV_LAYOUTS and samples_together and is_deep and page.compression in (1, 5, 8, 32773, 32946)


def _sample_bits(page: Any) -> tuple[int, ...]:
    bits = page.bitspersample
    return tuple(bits) if isinstance(bits, tuple) else (bits,) * page.samplesperpixel


def orientation_of_page(page: Any) -> int:
    """Return the orientation of a page, 1 to 8; 1 (upright) if it has none."""
    tag = page.tags.get(274)
    return tag.value if tag is not None and tag.value in range(1, 9) else 1


def profile_of_page(page: Any) -> bytes | None:
    """Return the ICC profile of a page in RGB, or of a palette; None if it has none."""
    tag = page.tags.get(_ICC_PROFILE)
    return bytes(tag.value) if tag is not None and page.photometric in _RGB_PHOTOMETRICS else None


def kind_of_page(page: Any) -> str:
    """Return what a page holds, such as "a TIFF of 5 bands of 16-bit integers with LZW compression"."""
    numbers = {_UINT: "integers", _INT: "signed integers", _FLOAT: "floats"}.get(page.sampleformat, "numbers")
    bits, count = _sample_bits(page)[0], page.samplesperpixel
    bands = f"{count} bands" if count > 1 else "one band"
    packed = "" if page.compression == 1 else f" with {getattr(page.compression, 'name', page.compression)} compression"
    return f"a TIFF of {bands} of {bits}-bit {numbers}{packed}"


def unreadable_tiff_error(page: Any, name: str) -> DacliError:
    """Return the error for a page of a kind that no decoder here reads, with what it holds."""
    return DacliError(f"{name} is {kind_of_page(page)}", "save it as RGB of 8 or 16 bits, or as PNG", "format")
