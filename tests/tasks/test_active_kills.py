"""kill -9 in the middle of rounds with real training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/active_kills.py"


@pytest.mark.skipif(sys.platform == "win32", reason="starting so many processes takes minutes on Windows")
def test_five_kills_lose_no_accepted_label_and_no_finished_round() -> None:
    """The rounds that were killed also end with the same questions, masks and scores as those that were not."""
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--kills", "5", "--rounds", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.startswith("5 kills in ")
