"""What the options say, before anything else is done."""

import pytest

from dacli.cli import values
from dacli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "want"), [("1/4", (1, 4)), ("4/4", (0, 4)), ("0/4", (0, 4)), ("3/4", (3, 4)), ("1/1", (0, 1))]
)
def test_shards_count_from_0_or_from_1(text: str, want: tuple[int, int]) -> None:
    assert values.parse_shard(text, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "9"})[:2] == want


@pytest.mark.parametrize("text", ["", "4", "5/4", "-1/4", "1/0", "0/0", "a/b", "1/4/5", "1.0/4", "1/99999999999"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="is not a part I of N"):
        values.parse_shard(text, {})


@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 1), (5, 1), (10, 10)])
def test_the_tasks_of_a_slurm_array_are_its_shards(first: int, step: int) -> None:
    names = {"COUNT": "4", "MIN": str(first), "STEP": str(step)}
    fixed = {f"SLURM_ARRAY_TASK_{name}": value for name, value in names.items()}
    parts = [values.parse_shard("slurm", fixed | {"SLURM_ARRAY_TASK_ID": str(first + step * i)}) for i in range(4)]
    assert [part[:2] for part in parts] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert parts[1][2] == "part 2 of 4, by SLURM_ARRAY_TASK_ID"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_ARRAY_TASK_ID": "1"},
        {"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "2"},
        {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "0"},
    ],
)
def test_outside_of_an_array_slurm_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--shard slurm needs SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT"):
        values.parse_shard("slurm", environment)


def test_a_slurm_array_shares_nothing_unasked() -> None:
    environment = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "4"}
    assert values.parse_shard(None, environment) == (0, 1, "")


def test_batches() -> None:
    assert (values.parse_batch("auto"), values.parse_batch("16")) == (None, 16)
    for text in ("0", "-1", "x", "", "1.5", "10000"):
        with pytest.raises(UsageError, match="--batch"):
            values.parse_batch(text)


def test_devices() -> None:
    assert values.parse_devices(None, "mps") == ["mps"]
    assert values.parse_devices("0,1,0", "auto") == ["cuda:0", "cuda:1"]
    with pytest.raises(UsageError, match="contradict"):
        values.parse_devices("0,1", "cpu")
    for text in ("", "0,", "cuda:0", "a", "0;1"):
        with pytest.raises(UsageError, match="not a list of CUDA devices"):
            values.parse_devices(text, "auto")
