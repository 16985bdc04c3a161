"""How fast, how frugally and how faithfully large images are segmented: ``python benchmarks/prediction_speed.py``.

A 4096 × 3072 image and resnet18 + unet, trained for a moment so that agreement means something. The yardsticks are a
bare forward of one tile, one forward of the whole image, and MONAI's ``sliding_window_inference`` (``pip install
monai``; left out where it is missing). What is compared takes turns in one process, and the fastest run of each counts.
Memory (of the CPU) and start-up are measured in new processes, start-up with the plain U-Net (unet + unet): the others
also import timm, which takes some seconds more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import record
from torch import Tensor, nn

from srpu.data.classes import ClassMap
from srpu.data.dataset import CropSampler, LabelledImage
from srpu.data.images import write_image
from srpu.data.normalisation import Normalisation
from srpu.data.synthetic import generate
from srpu.learn.checkpoint import Checkpoint, save_checkpoint
from srpu.learn.device import Precision, autocast, choose_device, choose_precision
from srpu.learn.predict import Tiling, predict_labels
from srpu.models.segmenter import Segmenter, build_segmenter
from srpu.settings import InferenceSettings
from srpu.tasks import init_task
from srpu.tasks.wiring import augmenter, tiling

HEIGHT, WIDTH = 3072, 4096
ROI, ROI_OVERLAP, ROI_BATCH = 512, 0.25, 4
TARGETS = {
    "redundant_area": 1.35,
    "seconds_over_bare_tiles": 1.10,
    "memory_above_one_tile_mib": 200.0,
    "speed_over_monai": 1.4,
    "agreement_above_monai": 0.0,
    "startup_over_torch_seconds": 1.0,
}
ZSCORE = Normalisation("zscore")
CLASSES = ClassMap(("carbon", "SE", "AM"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))

MEMORY = """
import sys, numpy as np, torch
from srpu.learn.predict import predict_labels, Tiling
from srpu.models.segmenter import build_segmenter
from srpu.learn.device import autocast
what, precision = sys.argv[1:3]
size, overlap, height, width = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
cpu = torch.device("cpu")
model = build_segmenter("resnet18", "unet", 3).eval().to(memory_format=torch.channels_last)
image = np.random.default_rng(0).integers(0, 256, (3072, 4096), dtype=np.uint8)
if what == "tile":
    with torch.inference_mode(), autocast(cpu, precision):
        for _ in range(2):
            model(torch.zeros(1, 1, height, width).to(memory_format=torch.channels_last))
else:
    predict_labels(model, image, (128.0, 40.0), Tiling(size, overlap), device=cpu, precision=precision)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""The peak of the resident memory after one tile, or after an image."""

IMPORT_TORCH = "import os, torch; os._exit(0)"
FIRST_FORWARD = """
import os
from srpu.cli import main
from srpu.models.segmenter import Segmenter
Segmenter.forward = lambda self, images: os._exit(0)
main("predict")
"""
"""`srpu predict`, which ends where the first forward would begin."""


def cut(image: np.ndarray, tiles: Tiling) -> list[tuple[int, int]]:
    """Heights and widths of what the network sees of ``image``, one by one."""
    seen: list[tuple[int, int]] = []

    class Spy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.extend([tuple(images.shape[-2:])] * len(images))
            return torch.zeros(len(images), 2, *images.shape[-2:])

    predict_labels(Spy(), image, (0.0, 1.0), tiles, device=torch.device("cpu"), precision="fp32")
    return seen


def train_briefly(steps: int, device: torch.device, precision: Precision) -> Segmenter:
    """A model that has seen a few crops of two generated images."""
    vary = augmenter(InferenceSettings())
    pictures = [generate(1024, 1024, seed=seed) for seed in (1, 2)]
    images = [
        LabelledImage(str(i), "generated", 1024, 1024, lambda g=grey: g, lambda m=ids: m)
        for i, (grey, ids) in enumerate(pictures)
    ]
    sampler = CropSampler(images, crop=vary.crop, window=vary.source_size, normalisation=ZSCORE)
    torch.manual_seed(0)
    model = build_segmenter("resnet18", "unet", 3).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step, batch in zip(range(steps), sampler.batches(4), strict=False):
        ready = batch.to(device)
        crops, ids = vary(ready.images, ready.masks, torch.Generator().manual_seed(step))
        with autocast(device, precision):
            logits = model(crops.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits.float(), ids, ignore_index=255).backward()
        optimizer.step()
    return model.eval()


def fastest(ways: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of the fastest run of each; they take turns, the first of which is not counted."""
    seconds = dict.fromkeys(ways, float("inf"))
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds


def monai_labels(model: nn.Module, batch: Tensor, precision: Precision) -> np.ndarray:
    """As MONAI's users do it."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode(), autocast(batch.device, precision):
        logits = sliding_window_inference(batch, ROI, ROI_BATCH, model, overlap=ROI_OVERLAP, mode="gaussian")
    return logits[0].argmax(0).byte().cpu().numpy()


def memory(what: str, precision: Precision, tiles: Tiling, tile: tuple[int, int]) -> float:
    """MiB at the peak of a new process that computes one tile, or a whole image by tiles."""
    arguments = [what, precision, str(tiles.size), str(tiles.overlap), *map(str, tile)]
    done = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def startup(folder: Path, rounds: int) -> tuple[float, float]:
    """Fastest seconds until torch is imported, and until `srpu predict one.tif` begins its first forward."""
    root = folder / "workspace"
    init_task.run(root)
    model = build_segmenter("unet", "unet", 3)
    checkpoint = Checkpoint(model.state_dict(), 1, 0.5, model.spec, CLASSES, ZSCORE, {}, {})
    path = root / "models" / "checkpoints" / "train_unet_unet" / "best_model.pth"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, checkpoint)
    write_image(root / "one.tif", generate(768, 1024, seed=5)[0])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    commands = {"torch": [IMPORT_TORCH], "predict": [FIRST_FORWARD, str(root / "one.tif")]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", *command], cwd=root, env=environment, check=True, capture_output=True)
            if number:  # the first run compiles what was never imported
                seconds[name].append(time.perf_counter() - began)
    return min(seconds["torch"]), min(seconds["predict"])


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60, help="training steps before")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, help="threads that torch computes with")
    parser.add_argument("--only", choices=("startup", "memory", "speed"))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    precision = choose_precision("auto", device)
    protocol = torch.cuda.get_device_name(device).replace("NVIDIA ", "") if device.type == "cuda" else device.type
    protocol = protocol.split()[0].lower() + (f"_{options.threads}_threads" if options.threads else "")

    def tell(metric: str, value: float, method: str = "srpu") -> None:
        target = TARGETS.get(metric) if method == "srpu" else None
        shared = {"benchmark": "prediction_speed", "protocol": protocol, "method": method}
        record(**shared, metric=metric, value=round(value, 5), target=target)
        print(f"{method}: {metric} {value:.4f}{'' if target is None else f' (target {target:g})'}", flush=True)

    tiles = tiling(InferenceSettings())
    shapes = cut(np.zeros((HEIGHT, WIDTH), np.uint8), tiles)
    tell("redundant_area", sum(h * w for h, w in shapes) / (HEIGHT * WIDTH))
    if options.only in (None, "startup"):
        with tempfile.TemporaryDirectory() as folder:
            torch_alone, until_forward = startup(Path(folder), options.rounds)
        tell("import_seconds", torch_alone, "import torch")
        tell("startup_over_torch_seconds", until_forward - torch_alone)
    if options.only in (None, "memory") and sys.platform == "linux" and device.type == "cpu":
        one, whole = (memory(what, precision, tiles, shapes[0]) for what in ("tile", "image"))
        tell("peak_memory_mib", one, "one tile")
        tell("memory_above_one_tile_mib", whole - one)
    if options.only in (None, "speed"):
        measure_speed(options.steps, options.rounds, device, precision, tiles, shapes, tell)


def measure_speed(
    steps: int,
    rounds: int,
    device: torch.device,
    precision: Precision,
    tiles: Tiling,
    shapes: list[tuple[int, int]],
    tell: Callable[..., None],
) -> None:
    """Against bare tiles and against MONAI, with the agreement of both with the whole image at once."""
    model = train_briefly(steps, device, precision)
    image, truth = generate(HEIGHT, WIDTH, seed=9)
    shift_scale = ZSCORE.shift_scale(image)
    levels = (torch.from_numpy(image).float() - shift_scale[0]) / shift_scale[1]
    batch = levels[None, None].to(device).contiguous(memory_format=torch.channels_last)
    tile = batch[..., : shapes[0][0], : shapes[0][1]].contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode(), autocast(device, precision):
            model(tile)

    def ours() -> np.ndarray:
        return predict_labels(model, image, shift_scale, tiles, device=device, precision=precision)

    ways: dict[str, Callable[[], Any]] = {"bare": bare, "srpu": ours}
    try:
        import monai

        ways["monai"] = lambda: monai_labels(model, batch, precision)
        print(f"MONAI {monai.__version__}: tiles of {ROI}², overlap {ROI_OVERLAP}, {ROI_BATCH} at once, gaussian")
    except ModuleNotFoundError:
        print("MONAI is missing, so there is nothing to compare with: pip install monai")
    with torch.inference_mode(), autocast(device, precision):
        whole = model(batch)[0].argmax(0).byte().cpu().numpy()
    agreement = {name: float((ways[name]() == whole).mean()) for name in ways if name != "bare"}
    print(f"accuracy of the whole image at once: {(whole == truth)[truth != 255].mean():.3f}")
    seconds = fastest(ways, rounds, device)
    tell("seconds", seconds["bare"] * len(shapes), f"{len(shapes)} bare tiles")
    tell("seconds", seconds["srpu"])
    tell("seconds_over_bare_tiles", seconds["srpu"] / (seconds["bare"] * len(shapes)))
    for name, share in agreement.items():
        tell("agreement_with_whole_image", share, name)
    if "monai" in ways:
        tell("seconds", seconds["monai"], "monai")
        tell("speed_over_monai", seconds["monai"] / seconds["srpu"])
        tell("agreement_above_monai", agreement["srpu"] - agreement["monai"])


if __name__ == "__main__":
    main()
