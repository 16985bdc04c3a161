"""Which mask belongs to which image, told by where they lie and what they are called.

Images lie under the raw folders, masks in the labelled folder (with or without their images), and each named data set
has its own ``raw_images`` and ``masks``. A mask has its image's stem, alone or followed by one of ``MASK_ENDINGS``.
Nothing is guessed: whatever could be meant in two ways is a problem that names both paths.
"""

from __future__ import annotations

import filecmp
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from srpu.data.folders import Found, find_files, subfolders
from srpu.errors import PairingError

MASK_ENDINGS = ("_predicted_mask", "_prediction_mask", "_mask", "_label")
"""What may follow an image's stem in the stem of its mask."""

RAW, LABELED = "raw", "labeled"
"""The data sets of images under the raw folders, and of what lies in the labelled folder."""

_REPAIRED = "_repaired"  # `srpu masks repair` writes such a copy; it stands in for the mask beside it
_MASK_FOLDER = re.compile(r"masks?(_\d+class)?|labels?")
_IMAGE_FOLDER = re.compile(r"(raw_)?images?")

MasksAmong = Callable[[Sequence[Path]], Collection[Path]]


@dataclass(frozen=True)
class Pair:
    """An image and, if it has one, its mask.

    Attributes:
        id: What the image is called in every index; no two have the same.
        dataset: "raw", "labeled" or the name of a data set.
        image: Its file.
        mask: Its mask's file.
    """

    id: str
    dataset: str
    image: Found
    mask: Found | None = None


@dataclass
class Pairing:
    """What was found: pairs, what stands against using them, and what is worth a sentence."""

    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_pairs(
    raw_dirs: Sequence[Path],
    labeled_dir: Path,
    datasets_dir: Path,
    *,
    classes: int,
    masks_among: MasksAmong,
    skip: Collection[Path] = (),
) -> Pairing:
    """Search all folders and pair what lies there.

    Args:
        raw_dirs: Folders of images.
        labeled_dir: Folder of masks, and of images beside them.
        datasets_dir: Folder of named data sets.
        classes: Number of classes, to choose among ``masks_<n>class``.
        masks_among: Tells files that are masks by what they hold; asked where names do not tell.
        skip: Folders that are not searched, wherever they lie.

    Returns:
        Images sorted by data set and id, without problems.

    Raises:
        PairingError: Names every mask without an image and everything that could be meant in two ways.
        IndexingError: A folder cannot be opened.
    """
    result = Pairing()
    strangers: Counter[str] = Counter()
    # Raw folders may hold each other, the labelled folder and the data sets; each file is found once.
    own = [folder.resolve() for folder in (*raw_dirs, labeled_dir, datasets_dir, *skip)]
    for folder in raw_dirs:
        if not folder.is_dir():
            result.notes.append(f"The folder {folder} of RAW_DIRS does not exist; it is passed over.")

    def find(folder: Path) -> list[Found]:
        return find_files(folder, [other for other in own if other != folder.resolve()], strangers)

    raw = [file for folder in {root.resolve(): root for root in raw_dirs}.values() for file in find(folder)]
    raw = _without_masks(raw, result)
    _pair_labeled(find(labeled_dir), raw, masks_among, result)
    for folder in subfolders(datasets_dir):
        _pair_dataset(folder, find, classes, result)
    if strangers:
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(strangers.items()))
        result.notes.append(f"Files passed over because they are no PNG, JPEG, BMP or TIFF: {kinds}.")
    if result.problems:
        count = len(result.problems)
        lines = "".join(f"\n  - {problem}" for problem in result.problems)
        raise PairingError(f"{count} {'problem' if count == 1 else 'problems'} with masks; nothing was written:{lines}")
    result.pairs = sorted(_with_own_ids(result.pairs), key=lambda pair: (pair.dataset, pair.id))
    return result


def match(masks: Iterable[Found], images: Iterable[Found]) -> tuple[dict[Found, Found], list[str]]:
    """The image of each mask: the one of its name that lies nearest.

    Nearest is the same folder, then the same sub-folder of another root (``b1/X.png``, ``b1/X.tif``), then a folder of
    the same name, then anywhere that no nearer mask has claimed. A folder within which images and masks lie apart
    (``images/``, ``masks/``) counts as one.

    Returns:
        Image by mask, and the problems: masks with no or several images, images with several masks.
    """
    named = _by_name(images)
    candidates = {mask: named[_key(mask.stem)] or named[_key(bare_stem(mask.stem))] for mask in masks}
    matched: dict[Found, Found] = {}
    problems = []
    for distance in range(4):
        taken = set(matched.values())
        for mask, same_name in candidates.items():
            near = [image for image in same_name if image not in taken and _distance(mask, image) <= distance]
            if mask in matched or not near:
                continue
            matched[mask] = near[0]
            if len(near) > 1:
                paths = " and ".join(str(image.path) for image in near)
                problems.append(f"{mask.path} could belong to {paths}; rename one of them, with its mask.")
    masks_of = defaultdict(list)
    for mask, same_name in candidates.items():
        if same_name:
            masks_of[matched.get(mask, same_name[0])].append(mask)
        else:
            problems.append(
                f"{mask.path} has no image: there is none called {bare_stem(mask.stem)}; add it, or move the mask away."
                " (If this is an image, call its mask like it, ending in _mask.)"
            )
    for image, several in masks_of.items():
        if len(several) > 1:
            paths = " and ".join(str(mask.path) for mask in several)
            problems.append(f"{image.path} has {len(several)} masks, {paths}; keep one.")
    return matched, problems


def bare_stem(stem: str) -> str:
    """A mask's stem without what tells that it is a mask.

    >>> bare_stem("X_predicted_mask"), bare_stem("X_Label"), bare_stem("X")
    ('X', 'X', 'X')
    """
    if stem.lower().endswith(_REPAIRED):
        stem = stem[: -len(_REPAIRED)]
    for ending in MASK_ENDINGS:
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return stem


def _pair_labeled(labeled: Sequence[Found], raw: Sequence[Found], masks_among: MasksAmong, result: Pairing) -> None:
    """Pair what lies in the labelled folder with itself and with the raw images."""
    raw_named = _by_name(raw)
    masks = _masks_among(labeled, raw_named, masks_among)
    images = [file for file in labeled if file not in masks]
    matched, problems = match(_with_repaired(masks), [*images, *raw])
    mask_of = {image: mask for mask, image in matched.items()}
    result.problems += problems + _undecided(images, mask_of)
    for file in raw:
        if file in mask_of:
            result.pairs.append(Pair(file.id, LABELED, file, mask_of[file]))
        else:
            result.pairs.append(Pair(file.id, RAW, file))
    result.pairs += [Pair(file.id, LABELED, file, mask_of.get(file)) for file in images]


def _pair_dataset(folder: Path, find: Callable[[Path], list[Found]], classes: int, result: Pairing) -> None:
    """Pair ``raw_images`` of a named data set with its masks."""
    if not (folder / "raw_images").is_dir():
        result.notes.append(f"The data set {folder} has no folder raw_images; it is passed over.")
        return
    images = find(folder / "raw_images")
    names = [name for name in (f"masks_{classes}class", "masks") if (folder / name).is_dir()]
    others = sorted(other.name for other in folder.glob("masks_*class") if other.is_dir())
    if others and not names:
        result.problems.append(
            f"{folder / others[0]} holds masks of another number of classes than NUM_CLASSES = {classes};"
            f" change the setting, or call the folder masks_{classes}class."
        )
    matched, problems = match(_with_repaired(find(folder / names[0])) if names else [], images)
    result.problems += problems
    mask_of = {image: mask for mask, image in matched.items()}
    result.pairs += [Pair(f"{folder.name}/{file.id}", folder.name, file, mask_of.get(file)) for file in images]


def _masks_among(
    files: Sequence[Found], raw_named: Mapping[str, Sequence[Found]], masks_among: MasksAmong
) -> dict[Found, None]:
    """The masks in the labelled folder, in order: by folder, by name, else by what the files hold."""
    here = defaultdict(list)
    for file in files:
        here[file.folder, _key(bare_stem(file.stem))].append(file)

    def is_mask(file: Found) -> bool | None:
        for name in reversed(file.folder):
            if _MASK_FOLDER.fullmatch(name.lower()) or _IMAGE_FOLDER.fullmatch(name.lower()):
                return bool(_MASK_FOLDER.fullmatch(name.lower()))
        if bare_stem(file.stem) != file.stem:
            # An image may be called X_label.tif, if something is called X_label_mask.png.
            return (file.folder, _key(file.stem)) not in here
        raw = raw_named.get(_key(file.stem), ())
        rivals = [other for other in here[file.folder, _key(file.stem)] if other != file and not _is_repaired(other)]
        if raw and not rivals and not any(_same_bytes(file.path, other.path) for other in raw):
            return True  # the mask of a raw image; if it is not, reading it will tell what is wrong
        if not raw and rivals and all(bare_stem(other.stem) != other.stem for other in rivals):
            return False
        return None

    by_name = {file: is_mask(file) for file in files}
    by_content = masks_among([file.path for file, told in by_name.items() if told is None])
    return {file: None for file, told in by_name.items() if told or (told is None and file.path in by_content)}


def _with_repaired(masks: Iterable[Found]) -> list[Found]:
    """The masks, less those beside which a repaired copy lies."""
    masks = list(masks)
    repaired = {(mask.folder, mask.stem[: -len(_REPAIRED)]) for mask in masks if _is_repaired(mask)}
    return [mask for mask in masks if _is_repaired(mask) or (mask.folder, mask.stem) not in repaired]


def _is_repaired(mask: Found) -> bool:
    return mask.stem.lower().endswith(_REPAIRED)


def _without_masks(raw: Sequence[Found], result: Pairing) -> list[Found]:
    """Raw images, less the masks that lie among them."""
    images = {(file.root, file.folder, _key(file.stem)) for file in raw}
    masks = [
        file
        for file in raw
        if any(_MASK_FOLDER.fullmatch(name.lower()) for name in file.folder)
        or ((bare := bare_stem(file.stem)) != file.stem and (file.root, file.folder, _key(bare)) in images)
    ]
    if masks:
        result.notes.append(
            f"Masks among raw images, not used: {len(masks)} ({masks[0].path}{', …' if len(masks) > 1 else ''});"
            " move them into the labelled folder to train on them."
        )
    return [file for file in raw if file not in set(masks)]


def _undecided(images: Sequence[Found], matched: Collection[Found]) -> list[str]:
    """Images of the same name in one folder without any mask: one of them was probably meant as the mask."""
    together = defaultdict(list)
    for image in images:
        together[image.folder, _key(image.stem)].append(image)
    return [
        f"{' and '.join(str(file.path) for file in files)} have the same name, and neither looks like a mask;"
        " end the mask's name in _mask, or keep one image."
        for files in together.values()
        if len(files) > 1 and not any(file in matched for file in files)
    ]


def _distance(mask: Found, image: Found) -> int:
    ours, theirs = _place(mask), _place(image)
    if ours == theirs and mask.root == image.root:
        return 0
    if not ours or not theirs:
        return 3
    return 1 if ours == theirs else 2 if ours[-1] == theirs[-1] else 3


def _place(file: Found) -> tuple[str, ...]:
    """The file's folder, not counting those that keep images and masks apart."""
    return tuple(
        _key(name)
        for name in file.folder
        if not _MASK_FOLDER.fullmatch(name.lower()) and not _IMAGE_FOLDER.fullmatch(name.lower())
    )


def _key(name: str) -> str:
    """The name as Windows and macOS compare names: case and the way of writing accents do not count."""
    return unicodedata.normalize("NFC", name).casefold()


def _by_name(files: Iterable[Found]) -> defaultdict[str, list[Found]]:
    named = defaultdict(list)
    for file in files:
        named[_key(file.stem)].append(file)
    return named


def _same_bytes(first: Path, second: Path) -> bool:
    try:
        return first.stat().st_size == second.stat().st_size and filecmp.cmp(first, second, shallow=False)
    except OSError:  # a broken link, say: reading the file will tell
        return False


def _with_own_ids(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs whose ids differ: the first root keeps its ids, a later one puts its folder's name before those in use."""
    taken: set[str] = set()
    own = []
    for pair in pairs:
        id_, number = pair.id, 1
        while id_ in taken:
            id_ = f"{pair.image.root.name}{'' if number == 1 else f'-{number}'}/{pair.id}"
            number += 1
        taken.add(id_)
        own.append(replace(pair, id=id_))
    return own
