"""Composite-cathode SEM images with known phases, made from nothing but a seed.

For the demonstration and for tests: three phases whose grey levels overlap as they do in real images, so that
thresholds fail and shape and texture are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8, UInt16

from srpu.data.microstructure import Cathode, make_section
from srpu.data.sem_physics import Microscope, quantise, take_picture


@dataclass(frozen=True, kw_only=True)
class Recipe(Cathode, Microscope):
    """A picture's recipe: the material (:class:`Cathode`) and how it is imaged (:class:`Microscope`).

    >>> Recipe(am_fraction=0.4, dose=100).pixel_size_nm
    40.0
    """

    def __post_init__(self) -> None:
        Cathode.__post_init__(self)
        Microscope.__post_init__(self)


def generate(
    height: int, width: int, *, seed: int, recipe: Recipe | None = None, bits: int = 8
) -> tuple[UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Make one image and its mask.

    The same arguments give the same arrays. The microstructure depends on the seed and the material alone, so two
    microscopes can look at the same place.

    Args:
        height: Rows.
        width: Columns.
        seed: Any whole number from 0.
        recipe: Material and microscope; ``Recipe()`` if not given.
        bits: 8 or 16.

    Returns:
        The image, and class ids: 0 carbon, 1 solid electrolyte (SE), 2 active material (AM), and 255 (not labelled)
        for open pores, which there are only if ``pore_fraction`` is above 0. Cracks and closed pores inside
        particles count as active material.

    Raises:
        ValueError: A side below 1 pixel, or ``bits`` other than 8 and 16.

    >>> image, ids = generate(64, 48, seed=1, bits=16)
    >>> image.shape, str(image.dtype), ids.shape, str(ids.dtype)
    ((64, 48), 'uint16', (64, 48), 'uint8')
    """
    if min(height, width) < 1:
        raise ValueError(f"A picture of {height} × {width} pixels has no pixel.")
    recipe = recipe or Recipe()
    material, imaging = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2))
    section = make_section(recipe, height, width, material)
    grey, ids = take_picture(section, recipe, recipe.pixel_size_nm, imaging)
    return quantise(grey, bits), ids


def vary(recipe: Recipe, seed: int) -> Recipe:
    """Recipe of another specimen: other sizes and shares, another day at the microscope.

    >>> vary(Recipe(), 3) == vary(Recipe(), 3), vary(Recipe(), 3) == vary(Recipe(), 4)
    (True, False)
    """
    rng = np.random.default_rng(seed)

    def times(value: float, spread: float) -> float:
        return float(value * np.exp(np.clip(rng.standard_normal(), -2, 2) * spread))

    return replace(
        recipe,
        am_fraction=min(times(recipe.am_fraction, 0.06), 0.65),
        carbon_fraction=times(recipe.carbon_fraction, 0.15),
        mean_particle_um=times(recipe.mean_particle_um, 0.15),
        se_grain_um=times(recipe.se_grain_um, 0.15),
        crack_um=times(recipe.crack_um, 0.3),
        dose=times(recipe.dose, 0.35),
        gain=times(recipe.gain, 0.12),
        offset=times(recipe.offset, 0.7),
        defocus_px=times(recipe.defocus_px, 0.2),
        se_unevenness=times(recipe.se_unevenness, 0.15),
        relief=times(recipe.relief, 0.25),
        charging=times(recipe.charging, 0.35),
        curtaining=times(recipe.curtaining, 0.5),
        shading=times(recipe.shading, 0.3),
    )
