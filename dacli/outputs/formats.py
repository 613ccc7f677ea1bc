"""The kinds of output and the file names that they end in."""

import difflib
from collections.abc import Mapping

from dacli.errors import UsageError

KINDS: Mapping[str, str] = {
    "color": "_color.png",
    "gray": "_gray.png",
    "png16": "_depth16.png",
    "npy": "_depth.npy",
    "side": "_side.png",
}
CLIP_KINDS: Mapping[str, str] = {
    "color": "_color.mp4",
    "gray": "_gray.mp4",
    "png16": "_depth16.mkv",
    "npy": "_depth",
    "side": "_side.mp4",
}
FRAME_KINDS: Mapping[str, str] = {
    "color": "_color",
    "gray": "_gray",
    "png16": "_depth16",
    "npy": "_depth",
    "side": "_side",
}
LABELS: Mapping[str, str] = {"half": "_depth.npy"}  # pseudo-labels, float16


def parse_kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of output that a list such as `color,png16` names, in its order and each once.

    Raises UsageError for a name that is none of KINDS.
    """
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.5)
            guess = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"cannot save {name!r}", f"{guess}--save takes any of {','.join(KINDS)}")
    return tuple(dict.fromkeys(names))
