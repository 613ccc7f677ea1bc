"""The parts of progress bars, each with its meaning beside it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Task

SPEED_WINDOW = 120.0  # seconds of the past from which the time left is estimated


class TaskText(ProgressColumn):
    """A column whose text is computed from the task; one that may be cut gives way where the terminal is narrow."""

    def __init__(self, describe: "Callable[[Task], str]", *, may_be_cut: bool = False) -> None:
        super().__init__(Column(no_wrap=not may_be_cut))
        self.describe = describe

    def render(self, task: "Task") -> Text:
        return Text(self.describe(task), no_wrap=True, overflow="ellipsis")


def clock(seconds: float) -> str:
    """Return a duration as M:SS or H:MM:SS."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe_times(task: "Task") -> str:
    """Return the time since the task began and, where it is known, the time left."""
    left = task.time_remaining
    spent = f"{clock(task.elapsed or 0)} so far"
    return spent if left is None or task.finished else f"{spent}, {clock(left)} left"


def describe_batch(task: "Task") -> str:
    """Return the inputs of a batch per second, and how many failed; nothing of what is 0."""
    rate, failed = task.fields["rate"], task.fields["failed"]
    return ", ".join(part for part in (rate and f"{rate:.2f}/s", failed and f"{failed} failed") if part)


def describe_transfer(task: "Task") -> str:
    """Return the speed of a download."""
    return f"{decimal(int(task.speed))}/s" if task.speed else ""


def batch_columns() -> list[ProgressColumn]:
    """Return the columns of a batch: a bar, the count, rate and failures, times, and the current file."""
    name = TaskText(lambda task: str(task.fields["file"]), may_be_cut=True)
    return [
        SpinnerColumn(),
        BarColumn(20),
        MofNCompleteColumn(),
        TaskText(describe_batch),
        TaskText(describe_times),
        name,
    ]


def count_columns() -> list[ProgressColumn]:
    """Return the columns of a task that counts its steps."""
    return [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskText(describe_times),
    ]


def share_columns() -> list[ProgressColumn]:
    """Return the columns of a task that knows which share of it is done; its description says what it does now."""
    name = TaskText(lambda task: task.description, may_be_cut=True)
    return [SpinnerColumn(), BarColumn(20), TaskText(describe_times), name]


def download_columns() -> list[ProgressColumn]:
    """Return the columns of a download."""
    name = TextColumn("{task.description}")
    return [SpinnerColumn(), name, BarColumn(), DownloadColumn(), TaskText(describe_transfer), TaskText(describe_times)]
