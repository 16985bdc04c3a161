"""How a scanning electron microscope sees a polished section: from phases to grey levels.

The chain is the one of a real microscope: backscattering by atomic number, channelling in grains, relief left by
ion polishing, charging of insulators, curtains, uneven detection, defocus, drift, shot noise, amplifier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from srpu.data.microstructure import AM, CARBON, PORE, SE, Section
from srpu.data.random_fields import smooth_noise

MEAN_ATOMIC_NUMBER = {CARBON: 6.0, SE: 14.0, AM: 19.4}
"""Averaged by mass: carbon black, Li6PS5Cl, LiNi0.8Mn0.1Co0.1O2."""


@dataclass(frozen=True, kw_only=True)
class Microscope:
    """The imaging: strengths of 0 switch an effect off; pixels are pixels of the picture."""

    dose: float = 280.0
    """Electrons detected per pixel on the brightest phase; shot noise falls with its square root."""
    gain: float = 0.72
    """Share of the grey range between black and the mean of the active material."""
    offset: float = 0.03
    """Grey level of no signal, as a share of the range."""
    defocus_px: float = 0.8
    """Standard deviation of the beam's blur."""
    channelling: float = 0.06
    """Deviation of brightness from grain to grain in the active material (relative)."""
    se_unevenness: float = 0.13
    """The same for the electrolyte, whose grains also polish and charge unevenly."""
    relief: float = 0.16
    """Strength of topography: shaded slopes, bright edges, shadows beside the harder phase."""
    charging: float = 0.22
    """Brightening of electrolyte far from any conductor, and the streaks behind it."""
    curtaining: float = 0.05
    """Strength of the vertical stripes that ion milling leaves."""
    shading: float = 0.10
    """Deviation of brightness over the field of view."""
    drift_px: float = 1.5
    """How far rows slide sideways while the picture is taken; the ids slide with them."""
    line_noise: float = 0.005
    """Deviation of the offset from scan line to scan line, as a share of the range."""

    def __post_init__(self) -> None:
        if self.dose <= 0 or self.gain <= 0:
            raise ValueError(f"dose = {self.dose} and gain = {self.gain} must be above 0.")


def backscatter_yield(atomic_number: float) -> float:
    """Share of the beam that is scattered back at 20 kV.

    Reuter (1972), as given by Goldstein et al., *Scanning Electron Microscopy and X-Ray Microanalysis*.

    >>> round(backscatter_yield(6.0), 3), round(backscatter_yield(14.0), 3), round(backscatter_yield(19.4), 3)
    (0.064, 0.164, 0.221)
    """
    z = atomic_number
    return -0.0254 + 0.016 * z - 1.86e-4 * z**2 + 8.3e-7 * z**3


def take_picture(
    section: Section, microscope: Microscope, pixel_size_nm: float, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Scan the section once: grey levels, 0 black to 1 white (clipped), and the ids where the scan found them."""
    um = 1000 / pixel_size_nm
    signal = _contrast(section, microscope, um, rng)
    signal = signal * _topography(section, microscope, um, rng)
    signal += _charging(section, microscope, um, rng)
    signal *= 1 + microscope.curtaining * _curtains(section, um, rng)
    signal *= 1 + microscope.shading * smooth_noise(rng, signal.shape, 14 * um)
    if microscope.defocus_px > 0:
        signal = cv2.GaussianBlur(signal, (0, 0), microscope.defocus_px)
    signal, ids = _drift(signal, section.ids, microscope.drift_px, rng)

    counts = rng.poisson(microscope.dose * np.maximum(signal, 0)).astype(np.float32)
    grey = microscope.offset + microscope.gain / microscope.dose * counts
    lines = rng.standard_normal((signal.shape[0], 1), dtype=np.float32)
    grey += microscope.line_noise * lines
    return np.clip(grey, 0, 1, dtype=np.float32), ids


def _contrast(
    section: Section, microscope: Microscope, um: float, rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """Brightness by atomic number and by grain, active material = 1."""
    shape = section.ids.shape
    bright = {phase: backscatter_yield(z) / backscatter_yield(19.4) for phase, z in MEAN_ATOMIC_NUMBER.items()}
    texture = smooth_noise(rng, shape, 0.25 * um)
    # A thin carbon film lets the beam through to what lies below it.
    film = np.clip(0.2 + 0.2 * smooth_noise(rng, shape, 0.8 * um), 0, 0.8)
    carbon = bright[CARBON] * (1 - film) + bright[SE] * film + 0.05 * texture
    electrolyte = bright[SE] * (1 + microscope.se_unevenness * section.grain + 0.05 * texture)
    active = 1 + microscope.channelling * section.grain
    floor = np.clip(0.12 + 0.12 * smooth_noise(rng, shape, 0.6 * um), 0.02, 0.5)
    phases = [section.ids == CARBON, section.ids == SE, section.ids == AM, section.ids == PORE]
    signal = np.select(phases, [carbon, electrolyte, active, floor]).astype(np.float32)
    signal *= 1 - 0.75 * section.opening
    return np.asarray(cv2.GaussianBlur(signal, (0, 0), 0.5))  # the volume that a pixel's electrons come from


def _topography(
    section: Section, microscope: Microscope, um: float, rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """Factor by which slopes, edges and shadows change brightness.

    Ion polishing takes soft phases first: active material stands proud, carbon and pores lie low.
    """
    shape = section.ids.shape
    height = np.select([section.ids == AM, section.ids == SE], [1.0, 0.45], 0.0).astype(np.float32)
    height += 0.08 * section.grain + 0.05 * smooth_noise(rng, shape, 0.3 * um)
    height = np.asarray(cv2.GaussianBlur(height, (0, 0), 1.0), np.float32)
    slope_y, slope_x = (cv2.Sobel(height, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.25) for dx in (0, 1))
    towards_detector = rng.uniform(0, 2 * math.pi)
    lit = math.cos(towards_detector) * slope_x + math.sin(towards_detector) * slope_y
    edge = np.hypot(slope_x, slope_y)
    hidden = np.maximum(cv2.GaussianBlur(height, (0, 0), 0.18 * um) - height, 0)
    factor = 1 + microscope.relief * (2.0 * lit + 1.2 * edge - 2.2 * hidden)
    return np.asarray(np.maximum(factor, 0.1), np.float32)


def _charging(
    section: Section, microscope: Microscope, um: float, rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """Extra signal of electrolyte that cannot drain its charge, and its tail along the scan (to the right)."""
    if microscope.charging == 0:
        return np.zeros(section.ids.shape, np.float32)
    uneven = np.clip(0.5 + smooth_noise(rng, section.ids.shape, 3 * um), 0, 1.7)
    charge = np.tanh(section.depth / 0.8) * uneven
    flashes = 1 + 0.25 * rng.standard_normal((charge.shape[0], 1), dtype=np.float32)
    tail = _decay(charge * flashes, 1.2 * um, axis=1)
    halo = cv2.GaussianBlur(charge, (0, 0), 0.25 * um)
    return np.asarray(microscope.charging * (0.55 * halo + 0.45 * tail - 0.15), np.float32)


def _curtains(section: Section, um: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Stripes down the picture: some run through it, others begin below the edges of hard particles."""
    height, width = section.ids.shape
    through = smooth_noise(rng, (math.ceil(height / (12 * um)) + 2, width), 3.0)
    through = np.tanh(through * np.maximum(smooth_noise(rng, through.shape, 2 * um), 0))  # in places only
    through = cv2.resize(through, (width, round(12 * um) * len(through)), interpolation=cv2.INTER_LINEAR)[:height]
    hard = (section.ids == AM).astype(np.float32)
    lower_edge = np.maximum(-np.diff(hard, axis=0, prepend=hard[:1]), 0)
    source = lower_edge * smooth_noise(rng, (1, width), 1.5)
    below = np.tanh(5 * um * _decay(cv2.GaussianBlur(source, (0, 0), 0.8), 5 * um, axis=0))
    return np.asarray(0.6 * through + 1.0 * below, np.float32)


def _decay(source: Float32[np.ndarray, "h w"], length: float, axis: int) -> Float32[np.ndarray, "h w"]:
    """Running mean of what came before along ``axis``, forgotten over ``length`` pixels."""
    from scipy.signal import lfilter  # two seconds, which every training would wait for

    keep = math.exp(-1 / length)
    first = source.take([0], axis=axis) * keep  # as if the picture had begun long before
    tail, _ = lfilter([1 - keep], [1, -keep], source, axis=axis, zi=first)
    return np.asarray(tail, np.float32)


def _drift(
    signal: Float32[np.ndarray, "h w"], ids: UInt8[np.ndarray, "h w"], most: float, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Slide each row sideways: slow wandering, and a jitter of a fraction of a pixel that only the image shows."""
    height, width = signal.shape
    slow = most * 0.6 * smooth_noise(rng, (height, 1), 150.0)
    jitter = 0.12 * min(most, 1.0) * rng.standard_normal((height, 1), dtype=np.float32)
    y, x = np.indices((height, width), np.float32)
    mirror = cv2.BORDER_REFLECT
    moved = cv2.remap(signal, x + slow + jitter, y, cv2.INTER_LINEAR, borderMode=mirror)
    return moved, np.asarray(cv2.remap(ids, x + slow, y, cv2.INTER_NEAREST, borderMode=mirror))


def quantise(grey: Float32[np.ndarray, "h w"], bits: int) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """Grey levels of 0..1 as whole numbers of 8 or 16 bits.

    >>> quantise(np.array([[0.0, 0.5, 1.0]], np.float32), 8).tolist()
    [[0, 128, 255]]
    """
    if bits not in (8, 16):
        raise ValueError(f"bits = {bits}: pictures have 8 or 16 bits.")
    levels = np.rint(grey * (2**bits - 1))
    return np.asarray(levels, np.uint8 if bits == 8 else np.uint16)
