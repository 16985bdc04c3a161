"""How fast and how frugally a pool is looked through: ``python benchmarks/active_speed.py``.

Speed: images of 1024 × 768 and resnet18 + unet, scored with entropy, confidence and margin into an empty store. The
yardstick decodes the same files and computes one bare forward of each. Both take turns in one process; what counts is
the median of the ratios of all rounds. "first look" begins without decoded images in the cache, "later look" with them.
Memory: one process looks through many small images with a network that costs nothing; counted is how much its resident
memory grows between the first and the last of ``--counts``. Its speed tells what each image costs beside the network.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rows import record
from torch import Tensor

from srpu.active.store import Store
from srpu.config import load_settings
from srpu.data.images import pixel_hash, read_image, write_image
from srpu.data.index import Record
from srpu.data.normalisation import Normalisation
from srpu.data.synthetic import generate
from srpu.learn.device import autocast, choose_device, choose_precision
from srpu.manual import write_configs
from srpu.models.promise import Decoder, Encoder
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.settings import ActiveLearningSettings
from srpu.tasks.pool_models import Member
from srpu.tasks.pool_scores import score_pool
from srpu.workspace import Workspace

HEIGHT, WIDTH = 768, 1024
SMALL = 32
TEMPERATURE = 1.3
TARGETS = {"seconds_over_bare": 1.10, "memory_growth_mib": 64.0}


class Stub(Encoder):
    """Gives the image itself."""

    in_channels, out_channels, strides = 1, (1,), (1,)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The finest map."""
        return [images]


class StubDecoder(Decoder):
    """Gives the finest map."""

    out_channels = 1

    def forward(self, features: list[Tensor]) -> Tensor:
        """The finest map."""
        return features[0]


@contextmanager
def pool_of(pictures: Iterator[np.ndarray]) -> Iterator[tuple[Workspace, list[Record]]]:
    """A temporary workspace with these images, and what an index would say of them."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        write_configs(workspace.configs)
        records = []
        for number, picture in enumerate(pictures):
            name = f"{number // 1000:03d}/{number:06d}.png"
            write_image(workspace.path(f"data/raw/{name}"), picture)
            height, width = picture.shape
            facts = (None, None, None, "raw", name, None, height, width, None, pixel_hash(picture))
            records.append(Record(name, f"data/raw/{name}", *facts))
        yield workspace, records


def settings_of(workspace: Workspace, device: str) -> ActiveLearningSettings:
    """Those of active learning as they are, on this device."""
    return cast(ActiveLearningSettings, load_settings("active", workspace, [f"DEVICE={device}"]).settings)


def member_of(model: Segmenter, device: torch.device) -> Member:
    """The model as active learning has it."""
    model = model.eval().to(device, memory_format=torch.channels_last)
    return Member(model, Normalisation("zscore"), TEMPERATURE, "benchmark", device, choose_precision("auto", device))


def bare(member: Member, records: list[Record], workspace: Workspace) -> None:
    """Decode and forward, and nothing else."""
    for one in records:
        image = read_image(workspace.path(one.image)).astype(np.float32)
        batch = torch.from_numpy((image - 128) / 40)[None, None]
        batch = batch.to(member.device, memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(member.device, member.precision):
            member.model(batch)
    wait(member.device)


def scored(member: Member, records: list[Record], workspace: Workspace, settings: ActiveLearningSettings) -> None:
    """Look through the pool, with an empty store."""
    folder = workspace.path("active_learning")
    shutil.rmtree(folder, ignore_errors=True)
    with Store.open(folder) as store:
        found = sum(1 for _ in score_pool([member], records, settings, workspace, store))
    if found != len(records):
        sys.exit(f"only {found} of {len(records)} images were scored")


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_speed(images: int, rounds: int, device: torch.device, protocol: str) -> None:
    """Seconds for each image, side by side."""
    with pool_of(generate(HEIGHT, WIDTH, seed=seed)[0] for seed in range(images)) as (workspace, records):
        settings = settings_of(workspace, str(device))
        torch.manual_seed(0)
        member = member_of(build_segmenter("resnet18", "unet", 3), device)
        seconds: dict[str, list[float]] = {"bare": [], "first look": [], "later look": []}
        for number in range(rounds + 1):
            shutil.rmtree(workspace.path(settings.CACHE_DIR), ignore_errors=True)
            for name in seconds:
                began = time.perf_counter()
                if name == "bare":
                    bare(member, records, workspace)
                else:
                    scored(member, records, workspace, settings)
                if number:  # the first round warms up
                    seconds[name].append((time.perf_counter() - began) / images)
    for name, found in seconds.items():
        tell(protocol, name, "seconds_per_image", found)
        if name != "bare":
            tell(protocol, name, "seconds_over_bare", [a / b for a, b in zip(found, seconds["bare"], strict=True)])


def measure_memory(counts: list[int], protocol: str) -> None:
    """MiB at each count, of one process that looks through as many images as the last says."""
    random = np.random.default_rng(0)
    pictures = (random.integers(0, 256, (SMALL, SMALL), dtype=np.uint8) for _ in range(max(counts)))
    model = Segmenter(Stub(), StubDecoder(), {"classes": 3})
    with pool_of(pictures) as (workspace, records):
        settings = settings_of(workspace, "cpu")
        resident: dict[int, float] = {}
        with Store.open(workspace.path("active_learning")) as store:
            began = time.perf_counter()
            found = score_pool([member_of(model, torch.device("cpu"))], records, settings, workspace, store)
            for number, _ in enumerate(found, start=1):
                if number in counts:
                    resident[number] = memory()
            seconds = (time.perf_counter() - began) / len(records)
    for number, mib in resident.items():
        tell(protocol, f"{number} images", "resident_mib", [mib])
    tell(protocol, "srpu", "memory_growth_mib", [resident[max(counts)] - resident[min(counts)]])
    tell(protocol, "srpu", "seconds_per_image_beside_the_network", [seconds])


def memory() -> float:
    """Resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmRSS"))) / 1024


def tell(protocol: str, method: str, metric: str, values: list[float]) -> None:
    """Print and record the median and the spread of the rounds."""
    median, spread = statistics.median(values), max(values) - min(values)
    target = TARGETS.get(metric)
    shared = {"benchmark": "active_speed", "protocol": protocol, "method": method, "metric": metric}
    record(**shared, value=round(median, 5), spread=round(spread, 5) if len(values) > 1 else None, target=target)
    aim = "" if target is None else f" (target {target:g})"
    print(f"{method}: {metric} {median:.5f}, {min(values):.5f} to {max(values):.5f}{aim}", flush=True)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=8, help="images of each round of the comparison")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="threads that torch computes with")
    parser.add_argument("--counts", default="1000,10000,100000", help="images after which memory is measured")
    parser.add_argument("--only", choices=("speed", "memory"))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    protocol = torch.cuda.get_device_name(device).replace("NVIDIA ", "") if device.type == "cuda" else device.type
    protocol = protocol.split()[0].lower() + (f"_{options.threads}_threads" if options.threads else "")
    if options.only in (None, "speed"):
        measure_speed(options.images, options.rounds, device, protocol)
    if options.only in (None, "memory") and sys.platform == "linux":
        measure_memory(sorted(int(count) for count in options.counts.split(",")), protocol)


if __name__ == "__main__":
    main()
