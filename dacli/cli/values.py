"""What the values of options mean, checked before anything else is done."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import typer

from dacli.choices import PrecisionName
from dacli.cli.usage import join_choices, suggest_name
from dacli.errors import UsageError


def check_size(size: int) -> int:
    """Return the size; raise UsageError for one that networks cannot take."""
    if not 14 <= size <= 10_000:
        hint = "518 is what the published networks were trained at"
        raise UsageError(f"--size {size} is not between 14 and 10000", hint)
    return size


def pixel_limit(megapixels: float) -> int:
    """Return the limit in pixels; raise UsageError for one that is not above 0."""
    if not 0 < megapixels <= 1e6:
        raise UsageError(f"--max-pixels {megapixels:g} is not above 0", "give megapixels, such as 200")
    return int(megapixels * 1e6)


def choose_precisions(text: str, *, half: bool) -> list[str]:
    """Return the precisions that --precision and --fp16 name; raise UsageError if they contradict each other."""
    names = parse_names(text, "precision", get_args(PrecisionName)) or ["auto"]
    if half and not {*names} <= {"auto", "fp16"}:
        raise UsageError(f"--fp16 and --precision {text} contradict each other", "give one of them")
    return ["fp16"] if half else names


def parse_shard(text: str | None, environment: Mapping[str, str]) -> tuple[int, int, str]:
    """Return the index of the part, from 0, the number of parts, and a line that names the part; (0, 1, "") for None.

    `text` is I/N, counted from 0 or from 1 (N/N is 0/N), or `slurm` for the task of a Slurm array. Raises UsageError
    for any other text, and for `slurm` outside of an array.
    """
    if text is None:
        return 0, 1, ""
    if text == "slurm":
        index, count = slurm_task(environment)
        return index, count, f"part {index + 1} of {count}, by SLURM_ARRAY_TASK_ID"
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    index, count = (int(number) for number in match.groups()) if match else (0, 0)
    if not 0 <= index <= count or count == 0:
        hint = "give I/N, from 1/4 to 4/4 for four parts, or slurm"
        raise UsageError(f"--shard {text} is not a part I of N", hint)
    return index % count, count, f"part {text.replace('/', ' of ')}"


def slurm_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the index of the task of a Slurm array, from 0, and the number of tasks; raise UsageError without one."""
    try:
        task, count, first, step = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
            for name, default in (("ID", ""), ("COUNT", ""), ("MIN", "0"), ("STEP", "1"))
        )
        return (task - first) // step % count, count
    except (ValueError, ZeroDivisionError):
        fault = "--shard slurm needs SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT"
        raise UsageError(fault, "start it by sbatch --array, or give I/N") from None


def parse_batch(text: str) -> int | None:
    """Return the number of pictures in a batch, None for auto; raise UsageError for any other text."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise UsageError(f"--batch {text} is neither auto nor a number from 1 to 9999", "leave it out for auto")
    return int(text)


def parse_devices(devices: str | None, device: str) -> list[str]:
    """Return the devices that share the work; raise UsageError for any other text, and if --device is given too."""
    if devices is None:
        return [device]
    if device not in ("auto", "cuda"):
        raise UsageError(f"--devices {devices} and --device {device} contradict each other", "give one of them")
    if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", devices):
        raise UsageError(f"--devices {devices} is not a list of CUDA devices", "give their numbers, such as 0,1")
    return [f"cuda:{int(number)}" for number in dict.fromkeys(devices.split(","))]


def parse_list(text: str | None) -> list[str]:
    """Return the parts of a comma-separated list without duplicates; an empty list for None."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def parse_names(text: str | None, option: str, names: Sequence[str]) -> list[str]:
    """Return the names in a list, [] for None; raise UsageError for one that is not in `names`."""
    found = parse_list(text)
    for name in found:
        if name not in names:
            fault = f"unknown {option} {name!r}"
            raise UsageError(fault, f"{suggest_name(name, names)}choose {join_choices(names)}")
    return found


def parse_sizes(text: str | None) -> list[int]:
    """Return the sizes in a list, [] for None; raise UsageError for one that networks cannot take."""
    parts = parse_list(text)
    for part in parts:
        if not re.fullmatch(r"-?[0-9]{1,9}", part):
            number = re.match(r"[0-9]+", part)
            hint = f"for example --size {number[0]}" if number else "give one, or several such as 256,518"
            raise UsageError(f"--size {part} is not a number of pixels", hint)
    return [check_size(int(part)) for part in parts]


def parse_ratio(text: str) -> tuple[int, int]:
    """Return the width and height of a ratio such as 16:9; raise UsageError for any other text."""
    match = re.fullmatch(r"([1-9]\d{0,4}):([1-9]\d{0,4})", text)
    if match is None:
        raise UsageError(f"--ratio {text} is not a ratio of width and height", "give two whole numbers, such as 16:9")
    return int(match[1]), int(match[2])


def parse_output_folder(text: str) -> Path:
    """Return the output folder; raise an error of usage for an empty name, as of a variable that is not set."""
    if not text:
        raise typer.BadParameter("the name of the output folder is empty: the current folder is .")
    return Path(text)
