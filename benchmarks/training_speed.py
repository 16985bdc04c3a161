"""How much of the possible speed training reaches: ``python benchmarks/training_speed.py``.

The yardstick is the same model in the same loop, fed with ready-made tensors, so that only opening, cropping and
varying images remain. Two ways of doing that are held against it, the parts of `srpu train` and a plain DataLoader with
albumentations (``pip install albumentations``; left out where it is missing). All take turns in one process; a
round's speed is that of `fit`'s epoch, and the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from rows import record
from torch import Tensor, nn

from srpu.data.cache import Cache
from srpu.data.dataset import Batch, CropSampler, LabelledImage
from srpu.data.images import read_image, write_image
from srpu.data.normalisation import Normalisation
from srpu.data.synthetic import generate
from srpu.learn.device import choose_device, choose_precision
from srpu.learn.loop import Course, Plan, fit
from srpu.learn.losses import LOSSES
from srpu.learn.optim import build_optimizer
from srpu.learn.tracker import Trackers
from srpu.models.segmenter import build_segmenter
from srpu.settings import TrainSettings
from srpu.tasks.wiring import augmenter

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks the internet for its newest version otherwise

HEIGHT, WIDTH, IMAGES = 1536, 2048, 4
TARGET = 0.95
SETTINGS = TrainSettings()
Way = tuple[Callable[[int], Iterator[Any]], Callable[[Any], tuple[Tensor, Tensor]]]
"""Batches from a step on, and what makes varied images and class ids on the device of them."""


def make_images(folder: Path) -> list[LabelledImage]:
    """Generated cathodes as LZW-compressed TIFF files, opened through the cache as training does."""
    cache = Cache(folder / "cache", 10**9)

    def labelled(number: int) -> LabelledImage:
        path = folder / f"{number}.tif"
        grey, ids = generate(HEIGHT, WIDTH, seed=number)
        write_image(path, grey)
        return LabelledImage(
            path.stem,
            "generated",
            HEIGHT,
            WIDTH,
            open_image=lambda: cache.get(f"image{number}", lambda: read_image(path)),
            open_mask=lambda: cache.get(f"mask{number}", lambda: ids),
        )

    return [labelled(number) for number in range(IMAGES)]


def ready_tensors(device: torch.device) -> Way:
    """Batches that lie on the device already."""
    random = torch.Generator().manual_seed(0)
    size = (SETTINGS.BATCH_SIZE, SETTINGS.CROP_SIZE, SETTINGS.CROP_SIZE)
    pool = [
        (torch.randn(size, generator=random)[:, None].to(device), torch.randint(3, size, generator=random).to(device))
        for _ in range(4)
    ]
    return lambda _: cycle(pool), lambda batch: batch


def srpu(images: list[LabelledImage], device: torch.device) -> Way:
    """What `srpu train` does with its default settings."""
    vary = augmenter(SETTINGS)
    sampler = CropSampler(
        images, crop=vary.crop, window=vary.source_size, normalisation=Normalisation(SETTINGS.NORMALIZATION)
    )

    def varied(batch: Batch) -> tuple[Tensor, Tensor]:
        batch = batch.to(device)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return vary(batch.images, batch.masks, generator)

    return lambda start: sampler.batches(SETTINGS.BATCH_SIZE, start=start), varied


class AlbumentationsCrops(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The usual data set: the decoded image is held in memory, one random crop of it is varied and normalised."""

    def __init__(self, images: list[LabelledImage]) -> None:
        import albumentations as A

        edge = SETTINGS.CROP_SIZE
        opened = [(np.array(image.open_image()), np.array(image.open_mask())) for image in images]
        self._images = [(grey[..., None], ids, float(grey.mean()), float(grey.std())) for grey, ids in opened]
        self._vary = A.Compose(
            [
                A.RandomCrop(2 * edge, 2 * edge),
                A.Affine(scale=SETTINGS.SCALE.range, rotate=SETTINGS.ROTATE.range, border_mode=2, p=0.75),
                A.CenterCrop(edge, edge),
                A.HorizontalFlip(p=0.5),
                A.VerticalFlip(p=0.5),
                A.RandomRotate90(p=0.75),
                A.RandomBrightnessContrast(p=0.5),
                A.RandomGamma((70, 140), p=0.5),
                A.GaussianBlur(sigma_limit=SETTINGS.BLUR.range, p=SETTINGS.BLUR.p),
                A.GaussNoise(std_range=(0.0, 0.05), p=SETTINGS.NOISE.p),
            ]
        )

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        grey, ids, mean, deviation = self._images[number % len(self._images)]
        varied = self._vary(image=grey, mask=ids)
        image = (varied["image"][..., 0].astype(np.float32) - mean) / deviation  # the whole image's, as ours
        return torch.from_numpy(image)[None], torch.from_numpy(varied["mask"]).long()


def albumentations(images: list[LabelledImage], device: torch.device, workers: int) -> Way:
    """A plain DataLoader."""
    loader = torch.utils.data.DataLoader(
        AlbumentationsCrops(images),
        SETTINGS.BATCH_SIZE,
        shuffle=False,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )

    def varied(batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        return batch[0].to(device, non_blocking=True), batch[1].to(device, non_blocking=True)

    return lambda _: iter(loader), varied


def images_per_second(way: Way, steps: int, accelerator: Accelerator, folder: Path) -> float:
    """The faster of two epochs of the training loop, so that what happens once is not counted."""
    batches, varied = way
    loss = LOSSES[SETTINGS.LOSS_FUNCTION]

    def step(model: nn.Module, batch: Any) -> Tensor:
        images, ids = varied(batch)
        return loss(model(images.contiguous(memory_format=torch.channels_last)), ids, None)

    torch.manual_seed(0)
    model = build_segmenter("resnet18", "unet", 3).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, SETTINGS.OPTIMIZER, SETTINGS.LEARNING_RATE, SETTINGS.WEIGHT_DECAY)
    course = Course(batches, step, judge=None, keep=lambda *_: None)
    plan = Plan(epochs=2, steps_per_epoch=steps, images_per_step=SETTINGS.BATCH_SIZE, warmup_epochs=1)
    path = folder / "state.pth"
    _, history = fit(model, optimizer, course, plan, accelerator=accelerator, state_path=path, tracker=Trackers())
    return max(row["images_per_second"] for row in history.rows)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, help="steps of an epoch; two epochs are a round's turn of a method")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, help="threads that torch computes with")
    parser.add_argument("--workers", type=int, default=2, help="processes of the DataLoader")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    precision = choose_precision("auto", device)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    steps = options.steps or (8 if device.type == "cpu" else 200)
    protocol = torch.cuda.get_device_name(device).replace("NVIDIA ", "") if device.type == "cuda" else device.type
    protocol = protocol.split()[0].lower() + (f"_{options.threads}_threads" if options.threads else "")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        images = make_images(Path(folder))
        ways = {"ready_tensors": ready_tensors(device), "srpu": srpu(images, device)}
        try:
            ways["dataloader_albumentations"] = albumentations(images, device, options.workers)
        except ModuleNotFoundError as error:
            print(f"{error.name} is missing, so there is no DataLoader to compare with: pip install albumentations")
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            order = list(ways.items())[:: 1 if number % 2 == 0 else -1]
            for name, way in order:
                speeds[name].append(images_per_second(way, steps, accelerator, Path(folder)))
                print(f"round {number + 1}: {name} {speeds[name][-1]:.1f} images a second", flush=True)
    possible = max(speeds["ready_tensors"])
    for name, rounds in speeds.items():
        shared = {"benchmark": "training_speed", "protocol": protocol, "method": name, "budget_steps": steps}
        record(**shared, metric="images_per_second", value=round(max(rounds), 2))
        if name != "ready_tensors":
            share = max(rounds) / possible
            target = TARGET if name == "srpu" else None
            record(**shared, metric="share_of_tensors", value=round(share, 4), target=target)
            print(f"{name}: {share:.3f} of the speed with ready-made tensors ({precision}, {protocol})")


if __name__ == "__main__":
    main()
