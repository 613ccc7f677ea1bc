"""What the values of options mean, checked before anything else is done."""

import re
from collections.abc import Mapping

from dacli.errors import UsageError


def check_size(size: int | None) -> int | None:
    """Return the size; raise UsageError for one that networks cannot take."""
    if size is not None and not 14 <= size <= 10_000:
        hint = "518 is what the published networks were trained at"
        raise UsageError(f"--size {size} is not between 14 and 10000", hint)
    return size


def pixel_limit(megapixels: float) -> int:
    """Return the limit in pixels; raise UsageError for one that is not above 0."""
    if not 0 < megapixels <= 1e6:
        raise UsageError(f"--max-pixels {megapixels:g} is not above 0", "give megapixels, such as 200")
    return int(megapixels * 1e6)


def choose_precision(precision: str, *, half: bool) -> str:
    """Return the precision that --precision and --fp16 ask for; raise UsageError if they contradict each other."""
    if half and precision not in ("auto", "fp16"):
        raise UsageError(f"--fp16 and --precision {precision} contradict each other", "give one of them")
    return "fp16" if half else precision


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


def parse_sizes(text: str | None) -> list[int | None]:
    """Return the sizes of a list, [None] for an empty one; raise UsageError for one that networks cannot take."""
    parts = parse_list(text)
    for part in parts:
        if not part.isdecimal() or not part.isascii():
            raise UsageError(f"--size {part} is not a number of pixels", "give one, or several such as 256,518")
    return [check_size(int(part)) for part in parts] or [None]
