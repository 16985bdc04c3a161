"""What a polished section through a composite solid-state cathode looks like, before any microscope sees it.

Active-material particles (spheres of a log-normal size, cut at random heights, knobbly, polycrystalline, some
cracked or broken) are packed into a matrix of pressed sulfide grains. Carbon collects where it is found in real
cathodes: on the active material, along the grain boundaries of the electrolyte, and in agglomerates.

Lengths are given in µm and do not depend on the size of the picture, so a large picture shows more, not other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from srpu.data.random_fields import borders, cells, look_up, smooth_noise, warped_cells

CARBON, SE, AM, PORE = 0, 1, 2, 255
"""Class ids. Pores have no class of their own: they are not labelled (255 = ignore)."""


@dataclass(frozen=True, kw_only=True)
class Cathode:
    """The material: shares are area fractions of the section, lengths are in µm unless the name says otherwise."""

    am_fraction: float = 0.50
    carbon_fraction: float = 0.06
    pore_fraction: float = 0.0
    """Share of open pores in the electrolyte; they get the id 255 and are neither learned nor judged."""
    mean_particle_um: float = 4.0
    """Mean diameter of the active-material particles (of the spheres; sections through them are smaller)."""
    particle_spread: float = 0.35
    """Standard deviation of the logarithm of the diameter."""
    primary_grain_um: float = 0.45
    """Size of the grains inside an active-material particle."""
    crack_um: float = 0.10
    """Widest opening of cracks between these grains; they count as active material."""
    broken_share: float = 0.10
    """Share of particles that are broken; electrolyte is pressed into the gaps."""
    se_grain_um: float = 1.5
    """Size of the grains of the electrolyte."""
    carbon_film_um: float = 0.24
    """Thickness scale of carbon films; thinner ones do not occur below five pixels."""
    pixel_size_nm: float = 40.0

    def __post_init__(self) -> None:
        shares = (self.am_fraction, self.carbon_fraction, self.pore_fraction)
        if min(shares) < 0 or self.am_fraction > 0.65 or sum(shares) > 0.95:
            named = "am_fraction = {}, carbon_fraction = {}, pore_fraction = {}".format(*shares)
            raise ValueError(f"{named}: none may be below 0, am_fraction above 0.65 or their sum above 0.95.")
        if min(self.mean_particle_um, self.primary_grain_um, self.se_grain_um, self.pixel_size_nm) <= 0:
            raise ValueError("Particle, grain and pixel sizes must be above 0.")

    def pixels(self, length_um: float) -> float:
        """A length in pixels.

        >>> Cathode(pixel_size_nm=50).pixels(2.0)
        40.0
        """
        return length_um * 1000 / self.pixel_size_nm


@dataclass(frozen=True)
class Section:
    """A polished section: the phases, and what makes each of them uneven."""

    ids: UInt8[np.ndarray, "h w"]
    """0 carbon, 1 electrolyte, 2 active material, 255 pore."""
    grain: Float32[np.ndarray, "h w"]
    """Orientation of the grain that a pixel lies in, as a number of mean 0 and deviation 1."""
    opening: Float32[np.ndarray, "h w"]
    """How open a crack or grain boundary is: 0 sound material, 1 a gap one looks into."""
    depth: Float32[np.ndarray, "h w"]
    """Distance to the nearest electron conductor (carbon or active material) in µm; 0 inside them."""


def make_section(cathode: Cathode, height: int, width: int, rng: np.random.Generator) -> Section:
    """Grow one random section of ``height`` × ``width`` pixels."""
    shape = (height, width)
    particles = _pack(cathode, shape, rng)
    surface, owner = _particle_surface(cathode, particles, shape, rng)
    am = surface > _surface_level(surface, cathode)
    am_grain, opening = _grains_in_particles(cathode, particles, owner, shape, rng)

    se_labels = warped_cells(shape, cathode.pixels(cathode.se_grain_um), rng)
    se_tone = rng.standard_normal(int(se_labels.max()) + 1, dtype=np.float32)
    blend = 0.75 * se_tone[se_labels] + 0.65 * smooth_noise(rng, shape, cathode.pixels(cathode.se_grain_um))
    boundary = borders(se_labels)
    ids = _fill_matrix(cathode, am, boundary, rng)

    grain = np.where(am, am_grain, blend)
    seam = cv2.GaussianBlur(boundary.astype(np.float32), (0, 0), 1.0)
    gaps = np.clip(seam * (0.7 + 0.6 * smooth_noise(rng, shape, cathode.pixels(0.5))), 0, 1)
    opening = np.where(am, opening, np.where(ids == SE, gaps, 0)).astype(np.float32)
    insulating = np.isin(ids, (SE, PORE)).astype(np.uint8)
    depth = cv2.distanceTransform(insulating, cv2.DIST_L2, 5) * np.float32(cathode.pixel_size_nm / 1000)
    return Section(ids=ids, grain=grain, opening=opening, depth=depth)


# --- active material ---------------------------------------------------------------------------------------


def _pack(cathode: Cathode, shape: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "n 3"]:
    """Centres and radii (y, x, r in pixels) of circles that hardly overlap, in and around the picture."""
    radii = _section_radii(cathode, shape, rng)
    if not len(radii):
        return np.empty((0, 3), np.float32)
    margin = 2 * float(radii.max())  # crowding at the border of the packed area stays outside the picture
    step = max(1.0, cathode.pixels(cathode.mean_particle_um) / 30)
    y = np.arange(-margin, shape[0] + margin, step, dtype=np.float32)[:, None]
    x = np.arange(-margin, shape[1] + margin, step, dtype=np.float32)[None, :]
    free = np.full((y.size, x.size), np.inf, np.float32)  # distance to the nearest circle

    area = cathode.am_fraction * free.size * step**2
    placed: list[tuple[float, float, float]] = []
    for radius in np.sort(radii[np.cumsum(np.pi * radii**2) < area])[::-1]:
        rows, columns = rng.integers(y.size, size=1000), rng.integers(x.size, size=1000)
        room = np.flatnonzero(free[rows, columns] >= 0.96 * radius)
        if not room.size:
            continue
        row, column = rows[room[0]], columns[room[0]]
        placed.append((y[row, 0], x[0, column], radius))
        # Those to come are smaller, so nobody asks what is farther away than two radii.
        reach = math.ceil(2 * radius / step)
        top, left = max(0, row - reach), max(0, column - reach)
        near = (slice(top, row + reach + 1), slice(left, column + reach + 1))
        distance = np.hypot(y[near[0]] - y[row, 0], x[:, near[1]] - x[0, column]) - radius
        np.minimum(free[near], distance, out=free[near])
    return np.array(placed, np.float32).reshape(-1, 3)


def _section_radii(cathode: Cathode, shape: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Radii of plane cuts through log-normal spheres, more than enough to fill the picture.

    A plane meets large spheres more often (in proportion to their diameter) and cuts them at any height
    (Wicksell, Biometrika 17, 1925).
    """
    mean = cathode.pixels(cathode.mean_particle_um)
    spread = cathode.particle_spread
    reach = 6 * mean
    count = math.ceil(3 * (shape[0] + reach) * (shape[1] + reach) / mean**2)
    # Weighting a log-normal by its value moves its logarithm up by spread²; the mean lies spread²/2 above.
    spheres = mean / 2 * np.exp(spread * rng.standard_normal(count) + spread**2 / 2)
    spheres = np.minimum(spheres, 1.5 * mean)
    radii = spheres * np.sqrt(1 - rng.random(count) ** 2)
    keep = radii > max(2.0, 0.1 * mean) if cathode.am_fraction > 0 else np.zeros(count, bool)
    return radii[keep].astype(np.float32)


def _particle_surface(
    cathode: Cathode, particles: Float32[np.ndarray, "n 3"], shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "h w"], Int32[np.ndarray, "h w"]]:
    """Height of each pixel above the outline of the particle it belongs to (pixels, > 0 inside), and which."""
    surface = np.full(shape, -np.inf, np.float32)
    owner = np.zeros(shape, np.int32)
    for number, (cy, cx, radius) in enumerate(particles):
        outline = _outline(float(radius), cathode.pixels(cathode.primary_grain_um), rng)
        reach = float(outline.max()) + _most_shift(cathode) + 2
        top, left = max(0, int(cy - reach)), max(0, int(cx - reach))
        bottom, right = min(shape[0], int(cy + reach) + 1), min(shape[1], int(cx + reach) + 1)
        broken = rng.random() < cathode.broken_share and radius > cathode.pixels(cathode.mean_particle_um) / 4
        cuts = _cuts(cathode, float(radius), rng) if broken else []
        if top >= bottom or left >= right:
            continue
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - cy
        dx = np.arange(left, right, dtype=np.float32)[None, :] - cx
        distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx) % (2 * np.pi)
        height = outline[(angle * (outline.size / (2 * np.pi))).astype(np.int32) % outline.size] - distance
        for normal, offset, bend, gap in cuts:
            along, across = -math.sin(normal) * dx + math.cos(normal) * dy, math.cos(normal) * dx
            across = across + math.sin(normal) * dy - offset + bend * np.sin(along / (0.3 * radius))
            np.minimum(height, 8 * (np.abs(across) - gap), out=height)  # steep: gaps keep their width
        window = (slice(top, bottom), slice(left, right))
        nearer = height > surface[window]
        surface[window][nearer] = height[nearer]
        owner[window][nearer] = number
    return surface, owner


def _outline(radius: float, bump: float, rng: np.random.Generator) -> Float32[np.ndarray, " a"]:
    """Radius over the angle: not quite round at large, knobbly at the size of the primary grains."""
    steps = 1024
    order = np.arange(steps // 2 + 1)
    knobs = max(6.0, 2 * math.pi * radius / (1.5 * bump))
    strength = 0.055 / np.maximum(order, 1) ** 0.8 * np.exp(-((order / (1.2 * knobs)) ** 2))
    strength[:2] = 0
    waves = strength * steps / 2 * (rng.standard_normal(order.size) + 1j * rng.standard_normal(order.size))
    return (radius * (1 + np.fft.irfft(waves, steps))).astype(np.float32)


def _cuts(cathode: Cathode, radius: float, rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """One or two fractures: direction of the normal, offset from the centre, waviness, half width."""
    return [
        (
            rng.uniform(0, 2 * math.pi),
            rng.uniform(-0.4, 0.4) * radius,
            rng.uniform(0.03, 0.12) * radius,
            cathode.pixels(rng.uniform(0.06, 0.2)),
        )
        for _ in range(rng.integers(1, 3))
    ]


def _surface_level(surface: Float32[np.ndarray, "h w"], cathode: Cathode) -> float:
    """How far to move all outlines inwards (pixels) so that the share is met, within reason."""
    level = float(np.quantile(surface, 1 - cathode.am_fraction, method="lower"))
    return float(np.clip(level, -_most_shift(cathode), _most_shift(cathode)))


def _most_shift(cathode: Cathode) -> float:
    return 0.05 * cathode.pixels(cathode.mean_particle_um)


def _grains_in_particles(
    cathode: Cathode,
    particles: Float32[np.ndarray, "n 3"],
    owner: Int32[np.ndarray, "h w"],
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Orientation of primary grains, longer along the radius as in NMC, and the cracks between them."""
    if not len(particles):
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    size = cathode.pixels(cathode.primary_grain_um)
    largest = float(particles[:, 2].max())
    side = math.ceil(max(1024, 4 * largest))  # one patch of grains; every particle is a cut-out of it
    labels, seeds = cells((side, side), size, rng)
    blocks, _ = cells((side, side), 4.5 * size, rng)
    tone = rng.standard_normal(len(seeds), dtype=np.float32)
    block = blocks[seeds[:, 0], seeds[:, 1]]

    y, x = np.indices(shape, np.float32, sparse=True)
    cy, cx, radius = (particles[:, i][owner] for i in range(3))
    dy, dx = y - cy, x - cx
    rho = np.hypot(dy, dx) / radius
    stretch = np.maximum(rho, 0.1) ** np.float32(-0.4)
    shift = rng.uniform(1.2 * largest, side - 1.2 * largest, (2, len(particles))).astype(np.float32)
    grains = look_up(labels, dy * stretch + shift[0][owner], dx * stretch + shift[1][owner])

    # Cracks run along the borders between blocks of grains and gape most in the middle of a particle.
    damage = rng.beta(1.0, 1.6, len(particles)).astype(np.float32)[owner]
    size_effect = np.minimum(2 * radius / cathode.pixels(cathode.mean_particle_um), 1)
    gape = damage * size_effect * np.clip(1.15 - rho**2, 0, 1) * (1 + 0.5 * smooth_noise(rng, shape, 3 * size))
    lines = borders(block[grains]) | borders(owner)
    away = cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, 3)
    crack = np.clip(cathode.pixels(cathode.crack_um) * gape + 0.3 - away, 0, 1)
    seam = 0.35 * cv2.GaussianBlur(borders(grains).astype(np.float32), (0, 0), 0.7)
    closed_pore = np.clip(1.5 * (smooth_noise(rng, shape, 0.8 * size) - 2.9 + damage), 0, 1)
    opening: Float32[np.ndarray, "h w"] = np.maximum(np.maximum(crack, closed_pore), seam * damage)
    return tone[grains], opening


# --- electrolyte and carbon ----------------------------------------------------------------------------------


def _fill_matrix(
    cathode: Cathode, am: Bool[np.ndarray, "h w"], boundary: Bool[np.ndarray, "h w"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w"]:
    """Put carbon, then pores, where the matrix attracts them most, until the shares are met."""
    shape = am.shape
    film = max(cathode.pixels(cathode.carbon_film_um), 5.0)
    to_am = cv2.distanceTransform((~am).astype(np.uint8), cv2.DIST_L2, 5)
    to_boundary = cv2.distanceTransform((~boundary).astype(np.uint8), cv2.DIST_L2, 5)
    on_am, on_boundary = (np.exp(-(np.minimum(d / film, 9) ** 2)) for d in (to_am, to_boundary))

    patches = smooth_noise(rng, shape, cathode.pixels(2.4))
    lumps = smooth_noise(rng, shape, cathode.pixels(0.9)) + 0.25 * smooth_noise(rng, shape, film)
    ids = np.where(am, AM, SE).astype(np.uint8)
    # Weights chosen by eye: films on the particles first, then grain boundaries, the rest in lumps.
    carbon = patches + 2.0 * on_am + 1.2 * on_boundary + 0.5 * lumps
    ids[_most_attractive(carbon, ids == SE, cathode.carbon_fraction, film)] = CARBON

    holes = smooth_noise(rng, shape, cathode.pixels(0.7)) + on_boundary + 0.5 * on_am
    ids[_most_attractive(holes, ids == SE, cathode.pore_fraction, film)] = PORE
    return ids


def _most_attractive(
    score: Float32[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"], share: float, thickness: float
) -> Bool[np.ndarray, "h w"]:
    """The ``share`` of the picture with the highest score, without specks and anything thinner than ``thickness``.

    A grey-level opening followed by a threshold equals a threshold followed by an opening, so opening first lets
    the quantile meet the share.
    """
    if share == 0 or not where.any():
        return np.zeros_like(where)
    side = 2 * round(thickness / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    low = np.float32(score.min() - 1)
    opened = cv2.morphologyEx(np.where(where, score, low).astype(np.float32), cv2.MORPH_OPEN, disc)
    aim, found = share, np.zeros_like(where)
    for _ in range(2):  # the second time makes up for the specks that were dropped
        level = max(float(np.quantile(opened, 1 - aim)), float(low))
        _, labels, stats, _ = cv2.connectedComponentsWithStats((opened > level).astype(np.uint8), connectivity=4)
        large = stats[:, cv2.CC_STAT_AREA] > 3 * thickness**2
        found = (opened > level) & large[labels]
        aim = float(np.clip(aim + share - found.mean(), 0, 1))
    return found
