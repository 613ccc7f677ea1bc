"""The files of a folder that a run over pictures leaves out, counted by their extension."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field

from dacli.io.camera_raw import RAW_SUFFIXES

KINDS_NAMED = 8  # in the line that says what is left out
_CLIPS = ".mp4 .mov .m4v .mkv .avi .webm .mts .m2ts .mpg .mpeg .wmv .ts .m2v .vob .mxf .ogv .flv .3gp .dv .asf .y4m"
SUFFIXES_OF_CLIPS = frozenset([*_CLIPS.split(), ".mjpeg", ".nut"])
_PICTURES = ".pfm .psb .xcf .kra .svg .pdf .ai .eps .jxr .ico .icns .dds .gpr .x3f .raw"
_UNFINISHED = ".part .partial .tmp .temp .crdownload .download .bak .old .orig .swp .lock"
_OTHERS = (
    ".txt .md .json .jsonl .xmp .xml .csv .tsv .log .ini .toml .yaml .yml .html .htm .css .js .py .sh .bat .npy .npz"
    " .h5 .hdf5 .pt .pth .safetensors .onnx .zip .gz .tar .7z .rar .db .aae .thm .wav .mp3 .aac .srt .obj .ply .glb"
)
# Names of known kinds that are no pictures, or none that dacli reads: what is in them is not looked at.
KNOWN_OTHERS = SUFFIXES_OF_CLIPS | RAW_SUFFIXES | frozenset(f"{_PICTURES} {_UNFINISHED} {_OTHERS}".split())
_WORD = re.compile(r"\.[a-z0-9_~-]{1,16}")


@dataclass
class LeftOut:
    """How many files are left out, by extension, and how many of other names are taken, for their content."""

    suffixes: Counter[str] = field(default_factory=Counter)
    by_content: int = 0

    def add(self, path: str) -> None:
        """Count a file that is left out."""
        suffix = os.path.splitext(path)[1].lower()
        self.suffixes[suffix if not suffix or _WORD.fullmatch(suffix) else "of other names"] += 1

    def describe(self) -> str:
        """Return what is left out, such as "5 .dng, 2 .mp4 (use dacli video)", most first; "" if that is nothing."""
        ordered = sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))
        named = [_describe_count(suffix, count) for suffix, count in ordered[:KINDS_NAMED]]
        rest = sum(count for _, count in ordered[KINDS_NAMED:])
        return ", ".join(named + ([f"{rest} others"] if rest else []))

    def describe_line(self) -> str:
        """Return the line about the choice of files; "" if all are taken, and by their names."""
        left_out = self.describe()
        many = self.by_content > 1
        by_content = f"{self.by_content} of other names {'are pictures' if many else 'is a picture'} by content"
        parts = [f"left out: {left_out}" if left_out else "", by_content if self.by_content else ""]
        return "; ".join(filter(None, parts))


def _describe_count(suffix: str, count: int) -> str:
    hint = " (use dacli video)" if suffix in SUFFIXES_OF_CLIPS else ""
    hint = " (pip install rawpy to read them)" if suffix in RAW_SUFFIXES else hint
    return f"{count} {suffix or 'without extension'}{hint}"
