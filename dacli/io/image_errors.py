"""The errors of reading pictures: what a file is that is not a readable picture, and what the user can do."""

from dacli.errors import DacliError
from dacli.io.files import os_reason
from dacli.io.png import PNG_SIGNATURE

READABLE_FORMATS = "dacli reads JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, EXR, DPX, PSD and others: see docs/images.md"
_VIDEO = ("is a video", "use dacli video {name}")
# Offset and bytes that identify a file of another kind, what it is, and what to do.
_SIGNATURES: tuple[tuple[int, bytes, tuple[str, str]], ...] = (
    (0, b"version https://git-lfs", ("is a Git LFS pointer, not the picture", "fetch it with git lfs pull")),
    (0, b"%PDF", ("is a PDF", "export its page as PNG")),
    (0, b"PK\x03\x04", ("is a ZIP archive", "unpack it first")),
    (0, b"\x1f\x8b", ("is a gzip archive", "unpack it first")),
    (0, b"\x1a\x45\xdf\xa3", _VIDEO),
    (8, b"AVI ", _VIDEO),
    (4, b"ftypqt  ", _VIDEO),
    (4, b"ftypiso", _VIDEO),
    (4, b"ftypmp4", _VIDEO),
    (4, b"ftypM4V", _VIDEO),
)
# How files of the readable formats start.
_READABLE_STARTS = (
    b"\xff\xd8\xff",
    PNG_SIGNATURE,
    b"RIFF",
    b"BM",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0",
    b"\xff\x0a",
    b"8BPS",
)
_NAMED_STARTS = {
    b"\xff\x0a": "a JPEG XL",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"8BPS": "a Photoshop",
    b"\x76\x2f\x31\x01": "an OpenEXR",
}
# Words in errors of Pillow and its libraries that mean a file ends too early.
_TRUNCATION_WORDS = ("truncat", "eof", "end of file", "not enough image data", "expecting to read")


def refuse_other_formats(data: bytes, name: str) -> None:
    """Raise DacliError for a file whose first bytes are those of a format that dacli does not read."""
    for offset, signature, (reason, hint) in _SIGNATURES:
        if data.startswith(signature, offset):
            raise DacliError(f"{name} {reason}", hint.replace("{name}", name), "format")


def missing_package_error(name: str, kind: str, package: str, otherwise: str = "") -> DacliError:
    """Return the error for a picture of a kind that an optional package reads, which is not installed."""
    hint = f"install what reads it: pip install {package}"
    return DacliError(f"{name} is {kind}", f"{hint}, or {otherwise}" if otherwise else hint, "format")


def unknown_format_error(data: bytes, name: str) -> DacliError:
    """Return the error for a file that Pillow does not recognize: what it seems to be."""
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return DacliError(f"{name} is a web page, not a picture", "download the picture itself again", "format")
    if head.startswith((b"<svg", b"<?xml")):
        return DacliError(f"{name} is SVG or XML, not pixels", "export it as PNG", "format")
    kind = next((f"{kind} file that is " for start, kind in _NAMED_STARTS.items() if data.startswith(start)), "")
    if kind or any(data[: len(start)] == start[: len(data)] for start in _READABLE_STARTS):
        fault = f"{name} is {kind}truncated, damaged or of a rare kind ({len(data)} bytes)"
        return DacliError(fault, "copy or export it again", "damaged")
    if head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return DacliError(f"{name} holds text, not a picture", READABLE_FORMATS, "format")
    return DacliError(f"{name} is not a picture of a known kind", READABLE_FORMATS, "format")


def decoding_error(data: bytes, name: str, error: Exception) -> DacliError:
    """Return the error for a picture that cannot be decoded: it is truncated, or the reason that its decoder gives."""
    reason = os_reason(error)
    riff_is_cut = data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)
    if riff_is_cut or isinstance(error, EOFError) or any(word in reason.lower() for word in _TRUNCATION_WORDS):
        return DacliError(f"{name} is truncated ({len(data)} bytes)", "copy it again", "damaged")
    hint = "copy it again, or save it again with another program"
    return DacliError(f"{name} cannot be decoded ({reason})", hint, "damaged")


def damage_error(name: str, fault: str) -> DacliError:
    """Return the error for a picture of which a part is lost, with what its decoder reports."""
    return DacliError(f"{name} is damaged, and a part of it is lost ({fault})", "copy it again", "damaged")
