"""The counts of a run by outcome, and the seconds that its stages took."""

import time
from dataclasses import dataclass, field

from dacli.batch.outcomes import Done, Failed, Outcome, Skipped


@dataclass
class RunSummary:
    """Counts of a run over `total` inputs, and the seconds of work of each stage, added up."""

    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    reading: float = 0.0
    network: float = 0.0
    writing: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, outcome: Outcome) -> None:
        """Count one more input."""
        self.done += isinstance(outcome, Done)
        self.skipped += isinstance(outcome, Skipped)
        self.failed += isinstance(outcome, Failed)
        self.reading += outcome.seconds.reading
        self.network += outcome.seconds.network
        self.writing += outcome.seconds.writing

    def merge(self, other: "RunSummary") -> None:
        """Add the counts and seconds of another run."""
        for name in ("total", "done", "skipped", "failed", "reading", "network", "writing"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def json(self) -> dict[str, object]:
        """Return the counts, and the seconds since the run began."""
        seconds = round(time.perf_counter() - self.started, 3)
        return {"done": self.done, "skipped": self.skipped, "failed": self.failed, "seconds": seconds}

    @property
    def ended(self) -> int:
        """Return how many inputs are done, skipped or failed."""
        return self.done + self.skipped + self.failed

    @property
    def rate(self) -> float:
        """Return how many inputs were done per second, without the skipped ones."""
        return self.done / max(time.perf_counter() - self.started, 1e-9)

    def __str__(self) -> str:
        text = f"{self.done} done, {self.skipped} skipped, {self.failed} failed"
        if self.done:
            text += (
                f"; {time.perf_counter() - self.started:.1f} s, {self.rate:.2f} pictures/s (work of all threads: "
                f"reading {self.reading:.1f} s, network {self.network:.1f} s, writing {self.writing:.1f} s)"
            )
        return text
