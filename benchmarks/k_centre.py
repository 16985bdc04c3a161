"""How close exact k-centre picks come to the speed of memory: ``python benchmarks/k_centre.py``.

Picks are made from generated features (clusters of different sizes, and without any), with and without pruning. The
measure is the time of all passes, in units of the time in which the same threads only read the features as often;
passes and readings take turns, so that other work on the machine slows down both. Beside it stands what one would
write with PyTorch, on fewer picks and scaled: the distances to the new pick by a matrix product or by ``cdist``, then
minimum and argmax. ``NUMBA_NUM_THREADS`` sets the threads of all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numba
import numpy as np
import torch
from rows import record

from srpu.active.reach import Passes, Reach

TARGET = 1.2
"""Picks without pruning may take so many times what reading the features as often takes."""

Table = np.ndarray


@numba.njit(nogil=True, fastmath=True)
def _read(table: Table, low: int, high: int) -> float:
    """Touch every number once."""
    total = np.float32(0)
    for i in range(low, high):
        row = table[i]
        for j in range(row.size):
            total += row[j]
    return total


def generate(n: int, dimensions: int, clusters: int) -> Table:
    """Normal clusters of different sizes; with none, one cloud, in which nothing can be pruned."""
    random = np.random.default_rng(0)
    table = random.standard_normal((n, dimensions), dtype=np.float32)
    if clusters:
        middles = 2 * random.standard_normal((clusters, dimensions), dtype=np.float32)
        sizes = random.dirichlet(np.ones(clusters))
        table += middles[random.choice(clusters, n, p=sizes)]
    return table


def picking(table: Table, picks: int, *, prune: bool) -> tuple[float, float]:
    """Seconds for all picks, each a pass, and for reading the features as often."""
    passes = Passes(len(table))
    passes(_read, table)
    few = Reach(table[:64], table[:1], prune=prune)
    few.take(few.farthest)  # compiled now
    reach = Reach(table, table[:1], prune=prune)
    took, read = [], []
    for _ in range(picks):
        took.append(_seconds(lambda: reach.take(reach.farthest)))
        read.append(_seconds(lambda: passes(_read, table)))
    return sum(took), sum(read)


def as_one_would_write_it(table: Table, picks: int) -> float:
    """Seconds for so many picks with a matrix product each, as accurate as float32 squares allow."""
    points = torch.from_numpy(table)
    lengths = points.square().sum(dim=1)

    def run() -> None:
        nearest = torch.full((len(points),), torch.inf)
        pick = 0
        for _ in range(picks):
            squared = lengths + lengths[pick] - 2 * (points @ points[pick])
            nearest = torch.minimum(nearest, squared)
            pick = int(nearest.argmax())

    return _seconds(run)


def with_cdist(table: Table, picks: int) -> float:
    """Seconds for so many picks with ``torch.cdist``."""
    points = torch.from_numpy(table)

    def run() -> None:
        nearest = torch.full((len(points),), torch.inf)
        pick = 0
        for _ in range(picks):
            nearest = torch.minimum(nearest, torch.cdist(points, points[pick : pick + 1])[:, 0])
            pick = int(nearest.argmax())

    return _seconds(run)


def measure(table: Table, picks: int, others: int) -> Iterator[tuple[str, float, float]]:
    """For each way: its name, seconds for all picks, and how many times that is what reading takes."""
    for name, prune in (("without_pruning", False), ("with_pruning", True)):
        seconds, read = picking(table, picks, prune=prune)
        print(f"read at {table.nbytes * picks / read / 1e9:.1f} GB/s")
        yield name, seconds, seconds / read
    for name, way in (("torch_matrix_product", as_one_would_write_it), ("torch_cdist", with_cdist)):
        way(table, 1)  # the first call of a library takes longer
        seconds = way(table, others) * picks / others
        yield f"{name}_scaled_from_{others}_picks", seconds, seconds / read


def main() -> None:
    """Measure, print and record."""
    options = _options()
    torch.set_num_threads(numba.get_num_threads())
    for clusters in (0, options.clusters):
        table = generate(options.images, options.dimensions, clusters)
        protocol = f"{options.images}x{options.dimensions}_{options.picks}_picks_{clusters}_clusters"
        for method, seconds, ratio in measure(table, options.picks, min(options.others, options.picks)):
            print(f"{protocol} {method}: {seconds:.2f} s, {ratio:.2f} times reading")
            if options.dry:
                continue
            shared = {"benchmark": "k_centre", "protocol": protocol, "method": method}
            record(**shared, metric="seconds", value=round(seconds, 3))
            target = TARGET if method == "without_pruning" else None
            record(**shared, metric="times_reading", value=round(ratio, 3), target=target)


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--picks", type=int, default=1000)
    parser.add_argument("--others", type=int, default=20, help="picks of PyTorch, scaled to --picks")
    parser.add_argument("--clusters", type=int, default=300)
    parser.add_argument("--dry", action="store_true", help="measure and print, record nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
