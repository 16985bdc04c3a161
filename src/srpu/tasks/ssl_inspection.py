"""What `srpu inspect` shows: restorations, features, probes, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srpu.data.classes import ClassMap
from srpu.learn import metrics
from srpu.learn.pretrained import Pretrained, measure_statistics
from srpu.learn.probe import component_pictures
from srpu.models.autoencoder import Restored
from srpu.pictures import RGB, panel, to_8bit
from srpu.report import Block, Card, Cards, Cell, Picture, Section, Table, Text, write_report
from srpu.tasks.comparison import BETTER, WORSE
from srpu.tasks.restoration import restoration_picture
from srpu.tasks.ssl_probes import PROBES, RANDOM_SEEDS, Probed, together

_WIDTH = 1200

_READING = Text(
    (
        "How to read this. Probes ask whether classes can be told apart by the encoder's features alone: a linear "
        "classifier, and a vote of the nearest neighbours, fitted on labelled pixels of the training images and judged "
        "on pixels of the validation images (mean IoU, 0 to 1). The same is done with random weights. If the "
        "pretrained encoder is better, fine-tuning starts ahead; how much of that is left after fine-tuning, only "
        "`srpu evaluate` tells. A good restoration alone proves nothing: it can be reached without knowing what the "
        "phases are.",
        "怎样阅读：探针检验仅凭编码器的特征能否区分各类别：用训练图像的标注像素拟合一个线性分类器和一个近邻投票，"
        "再用验证图像的像素评估（平均 IoU，0 到 1），并与随机权重比较。预训练编码器更好，说明微调的起点更高；"
        "微调之后还剩多少优势，只有 `srpu evaluate` 能回答。仅仅复原得好并不说明什么：不认识物相也可以做到。",
    ),
    kind="note",
)


@dataclass(frozen=True)
class Restoration:
    """One crop restored. Scores count the pixels that were changed only.

    Attributes:
        name: Of the image.
        picture: Original, damaged and restored.
        psnr: Peak signal to noise ratio in dB of the damaged and of the restored pixels; higher is better.
        ssim: Structural similarity of both, at most 1.
    """

    name: str
    picture: RGB
    psnr: tuple[float, float]
    ssim: tuple[float, float]


@dataclass(frozen=True)
class Probing:
    """What the probes found: the pretrained encoder, random ones, a verdict for each probe, the judged specimens."""

    pretrained: Probed
    random: Sequence[Probed]
    verdicts: dict[str, str]
    groups: list[str]
    training_images: int

    def chance(self, probe: str) -> float:
        """Mean IoU of random weights, averaged over the seeds."""
        return float(np.mean([other.miou(probe) for other in self.random]))


@dataclass(frozen=True)
class Inspection:
    """All that is known about a pretrained network.

    Attributes:
        path: Its file.
        pretrained: What the file holds.
        restorations: Of some crops.
        encoders: The pretrained encoder and one with random weights.
        images: The same crops, normalised (b, 1, h, w).
        device: Where the encoders lie.
        learned_from: How many of the crops are from images that took part in pretraining.
        probing: What the probes found; None: there were none.
        why_no_probing: Why not.
        classes: What the masks' ids mean.
    """

    path: str
    pretrained: Pretrained
    restorations: Sequence[Restoration]
    encoders: tuple[nn.Module, nn.Module]
    images: Tensor
    device: torch.device
    learned_from: int
    probing: Probing | None
    why_no_probing: str
    classes: ClassMap

    @property
    def sentence(self) -> str:
        """Did pretraining help?"""
        if self.probing is None:
            return f"Whether pretraining helped cannot be said. {self.why_no_probing}"
        found = together(self.probing.verdicts)
        opening = {
            BETTER: "Pretraining helped: its features tell the classes apart better than those of random weights",
            WORSE: "Pretraining did harm: its features tell the classes apart worse than those of random weights",
        }.get(found, "Whether pretraining helped is not distinguishable from chance")
        numbers = ", ".join(
            f"{label} mean IoU {self.probing.pretrained.miou(name):.3f} against {self.probing.chance(name):.3f}"
            for name, label in PROBES.items()
        )
        specimens = len(set(self.probing.groups))
        return f"{opening} ({numbers}; judged on {len(self.probing.groups)} images of {specimens} specimens)."

    def mean(self, score: str) -> tuple[float, float]:
        """The damaged and the restored crops' mean "psnr" or "ssim"."""
        damaged, restored = np.mean([getattr(each, score) for each in self.restorations], axis=0)
        return float(damaged), float(restored)

    def numbers(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        probes = None
        if self.probing:
            probes = {
                name: {
                    "pretrained": self.probing.pretrained.miou(name),
                    "random": [other.miou(name) for other in self.probing.random],
                    "verdict": self.probing.verdicts[name],
                }
                for name in PROBES
            }
        psnr, ssim = self.mean("psnr"), self.mean("ssim")
        return {
            "model": self.path,
            "sentence": self.sentence,
            "psnr": {"damaged": psnr[0], "restored": psnr[1]},
            "ssim": {"damaged": ssim[0], "restored": ssim[1]},
            "probes": probes,
        }


def measure(name: str, image: Tensor, restored: Restored) -> Restoration:
    """Score and draw one restored crop (1, 1, h, w). The range of grey levels is the crop's 1st to 99th percentile."""
    from skimage.metrics import structural_similarity

    original, seen, answer = (part[0, 0].float().cpu().numpy() for part in (image, restored.seen, restored.restored))
    changed = np.abs(seen - original) > 1e-6
    if not changed.any():
        changed[:] = True
    low, high = np.percentile(original, (1, 99))
    span = max(float(high - low), 1e-6)

    def scores(other: np.ndarray) -> tuple[float, float]:
        error = float(np.square(other - original)[changed].mean())
        _, likeness = structural_similarity(original, other, data_range=span, full=True)  # type: ignore[no-untyped-call]
        return 10 * float(np.log10(span**2 / max(error, 1e-12))), float(likeness[changed].mean())

    (psnr_seen, ssim_seen), (psnr, ssim) = scores(seen), scores(answer)
    return Restoration(name, restoration_picture(image, restored, _WIDTH), (psnr_seen, psnr), (ssim_seen, ssim))


def write_inspection(path: Path, inspection: Inspection) -> Path:
    """Write the report to ``path`` and return it."""
    model, settings = inspection.pretrained.model, inspection.pretrained.settings
    kind = "note" if inspection.probing else "warning"
    sections = [Section("Did it help?", [Text((inspection.sentence,), kind=kind), _cards(inspection)])]
    if inspection.probing:
        sections.append(Section("Probes", [_table(inspection, inspection.probing), _READING]))
    sections += [
        Section("Restorations", [_about_restorations(inspection), *map(_picture, inspection.restorations)]),
        Section("Features", _features(inspection)),
    ]
    facts = {
        "Network": inspection.path,
        "Encoder": model["encoder"],
        "Method": model["method"],
        "Pretrained on": f"{len(inspection.pretrained.pretrained_on)} images",
        "Epoch": str(inspection.pretrained.epoch),
        "Crops": f"{settings['CROP_SIZE']} pixels",
    }
    write_report(path, "Pretraining inspected", sections, facts=facts)
    return path


def _cards(inspection: Inspection) -> Cards:
    cards = []
    if inspection.probing:
        for name, label in PROBES.items():
            chance = f"{inspection.probing.chance(name):.3f} with random weights"
            value = f"{inspection.probing.pretrained.miou(name):.3f}"
            cards.append(Card(f"Mean IoU, {label}", value, f"{chance}: {inspection.probing.verdicts[name]}"))
    for score, label, unit, digits in (("psnr", "PSNR", " dB", 1), ("ssim", "SSIM", "", 3)):
        damaged, restored = inspection.mean(score)
        cards.append(
            Card(f"{label} of restored pixels", f"{restored:.{digits}f}{unit}", f"damaged: {damaged:.{digits}f}")
        )
    return Cards(cards)


def _table(inspection: Inspection, probing: Probing) -> Table:
    classes = inspection.classes
    rows: list[list[str | Cell]] = []
    weights = [("pretrained", probing.pretrained)]
    weights += [(f"random, seed {seed}", other) for seed, other in zip(RANDOM_SEEDS, probing.random, strict=True)]
    for probe, label in PROBES.items():
        for name, probed in weights:
            matrix = np.sum(probed.matrices[probe], axis=0)
            per_class = [("n/a" if np.isnan(iou) else f"{iou:.3f}") for iou in metrics.iou(matrix)]
            rows.append([f"{label}, {name}", Cell(f"{probed.miou(probe):.3f}", bar=probed.miou(probe)), *per_class])
    caption = (
        f"IoU of pixels of {len(probing.groups)} validation images, by probes fitted on pixels of "
        f"{probing.training_images} training images."
    )
    return Table(["Probe, weights", "Mean IoU", *classes.names], rows, caption)


def _about_restorations(inspection: Inspection) -> Text:
    method = inspection.pretrained.model["method"]
    parts = [
        "Hidden patches are filled with one grey level; PSNR and SSIM count hidden pixels only. A transformer restores "
        "each patch up to its brightness and contrast, which are taken from the original."
        if method == "mae"
        else "The image was blurred, made coarser and noisy, and patches were dropped; PSNR and SSIM count all pixels "
        "that this changed."
    ]
    count = len(inspection.restorations)
    if inspection.learned_from:
        parts.append(
            f"{inspection.learned_from} of the {count} images took part in pretraining, so their restorations flatter."
        )
    else:
        parts.append(f"None of the {count} images took part in pretraining.")
    return Text(tuple(parts))


def _picture(restoration: Restoration) -> Picture:
    caption = (
        f"{restoration.name}: PSNR {restoration.psnr[0]:.1f} → {restoration.psnr[1]:.1f} dB, "
        f"SSIM {restoration.ssim[0]:.3f} → {restoration.ssim[1]:.3f}"
    )
    return Picture(restoration.picture, caption)


def _features(inspection: Inspection) -> list[Block]:
    """The images beside what the two encoders make of them."""
    images = inspection.images.to(inspection.device)
    columns = []
    for encoder in inspection.encoders:
        encoder = encoder.to(inspection.device)
        measure_statistics(encoder, [images], inspection.device)
        columns.append(component_pictures(encoder, images))
    blocks: list[Block] = [
        Text(
            (
                "The three directions in which features differ most, as red, green and blue; like colours are like "
                "features. Phases that stand out in one colour each are easy to learn from a few masks.",
            )
        )
    ]
    for number, restoration in enumerate(inspection.restorations):
        grey = to_8bit(inspection.images[number, 0].numpy())
        pictures = [part[number].repeat(4, axis=0).repeat(4, axis=1) for part in columns]
        sheet = panel([grey, *pictures], ["image", "pretrained", "random weights"], width=_WIDTH)
        blocks.append(Picture(sheet, restoration.name))
    return blocks
