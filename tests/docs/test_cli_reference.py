"""docs/cli.md is what the commands say of themselves, whatever the terminal is."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_up_to_date() -> None:
    command = [sys.executable, str(DOCS / "make_cli_reference.py"), "--check"]
    odd = {**os.environ, "COLUMNS": "40", "FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=odd)
    assert run.returncode == 0, run.stderr


def test_it_has_the_commands_and_options_that_users_rely_on() -> None:
    sections = dict(
        re.findall(r"^## (dacli [\w ]+)\n(.*?)(?=^## |\Z)", (DOCS / "cli.md").read_text("utf-8"), re.M | re.S)
    )
    assert {f"dacli {name}" for name in ("image", "folder", "video", "decode", "demo", "doctor", "bench")} <= set(
        sections
    )
    for option in ("--encoder", "--model", "--size", "`-o`, `--out`", "--range", "--json", "`-q`, `--quiet`", "--fp16"):
        assert option in sections["dacli image"], option
    assert "`auto`, `on`, `off` | `auto`" in sections["dacli image"]
