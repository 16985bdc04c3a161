"""The one format of all benchmark results: ``results/<benchmark>.json``, a list of rows.

A row belongs to a protocol, a method, a metric, a split and a machine; measuring it again replaces it.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from srpu.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"

_EMPTY: dict[str, Any] = {
    "benchmark": None,
    "protocol": None,
    "method": None,
    "metric": None,
    "value": None,
    "spread": None,
    "seeds": 1,
    "split": None,
    "transductive": False,
    "budget_steps": None,
    "minutes": None,
    "target": None,
    "published": None,
    "command": None,
    "machine": None,
    "commit": None,
    "date": None,
}
_KEY = ("protocol", "method", "metric", "split", "machine")


def record(**row: Any) -> None:
    """Write a row into the results of its benchmark; what is not told stays at its default.

    Raises:
        TypeError: The row has an entry that the format does not know, or lacks its benchmark, metric or value.
    """
    if unknown := set(row) - set(_EMPTY):
        raise TypeError(f"rows have no {', '.join(sorted(unknown))}")
    if missing := {"benchmark", "protocol", "method", "metric", "value"} - set(row):
        raise TypeError(f"the row lacks {', '.join(sorted(missing))}")
    defaults = _EMPTY | {"command": command(), "machine": machine(), "commit": commit(), "date": f"{datetime.now():%F}"}
    full = defaults | row
    path = RESULTS / f"{row['benchmark']}.json"
    rows = read_json(path) if path.exists() else []
    rows = [other for other in rows if any(other[key] != full[key] for key in _KEY)]
    write_json(path, [*rows, full])


def command() -> str:
    """What was typed, from the repository's root."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def machine() -> str:
    """Processor, cores and GPU."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    gpu = ""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        gpu = f", {sys.modules['torch'].cuda.get_device_name()}"
    return f"{os.cpu_count()} cores of {name}{gpu}"


def commit() -> str:
    """The commit that was measured, with a "+" where files have changed since."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "../src", ".")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
