"""How long `srpu index` takes for a large workspace, and how much memory: ``python benchmarks/indexing.py``.

Makes a workspace of generated images in a temporary folder, indexes it three times in new processes (everything is
new; nothing has changed; a hundred images are), and records seconds and peak memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from rows import record

from srpu.data.classes import ClassMap
from srpu.data.images import write_image
from srpu.data.masks import write_mask
from srpu.data.synthetic import generate
from srpu.tasks import init_task

CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))
EDGE, SOURCE = 512, 2048
TARGETS = {"everything_is_new": 60.0, "nothing_has_changed": 5.0, "a_hundred_are_new": None}


def make_images(root: Path, images: range, labelled: int, suffix: str) -> None:
    """Cut differing pictures out of a few generated ones; every ``labelled``-th has a mask."""
    sources = [generate(SOURCE, SOURCE, seed=seed) for seed in range(2)]
    random = np.random.default_rng(0)
    for number in images:
        grey, ids = sources[number % len(sources)]
        top, left = random.integers(0, SOURCE - EDGE, 2)
        window = np.s_[top : top + EDGE, left : left + EDGE]
        name = f"batch{number // 1000:02d}/field{number:05d}"
        picture = np.roll(grey[window], number, axis=number % 2)
        write_image(root / f"data/raw/{name}{suffix}", np.ascontiguousarray(picture))
        if number % labelled == 0:
            mask = np.roll(ids[window], number, axis=number % 2)
            write_mask(root / f"data/labeled/{name}.png", np.ascontiguousarray(mask), CLASSES)


def index(root: Path) -> tuple[float, float]:
    """Run ``srpu index``; gives seconds and the peak of its resident memory in MiB."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "srpu", "index"], cwd=root, stdout=subprocess.DEVNULL) as process:
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - began
        watcher.join()
    if code != 0:
        raise SystemExit(f"srpu index ended with {code}")
    return seconds, peak[0]


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    """Follow the high-water mark that Linux keeps for a process."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None and status.exists():
        try:
            marks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        except OSError:  # it has just ended
            break
        peak[0] = max([peak[0], *(int(mark) / 1024 for mark in marks)])
        time.sleep(0.05)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--labelled", type=int, default=20, help="every so many-th image has a mask")
    parser.add_argument("--suffix", choices=(".png", ".tif"), default=".png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        init_task.run(root)
        make_images(root, range(options.images), options.labelled, options.suffix)
        for state, target in TARGETS.items():
            if state == "a_hundred_are_new":
                make_images(root, range(options.images, options.images + 100), options.labelled, options.suffix)
            seconds, memory = index(root)
            print(f"{state}: {seconds:.1f} s, {memory:.0f} MiB")
            shared = {"benchmark": "indexing", "protocol": f"{options.images}_images{options.suffix}", "method": state}
            record(**shared, metric="seconds", value=round(seconds, 2), target=target)
            record(**shared, metric="peak_memory_mib", value=round(memory))


if __name__ == "__main__":
    main()
