"""Which images `srpu predict` takes, and what their results are called."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from srpu.data.folders import Found, find_files
from srpu.data.images import SUFFIXES
from srpu.errors import ImageError, SettingsError

log = logging.getLogger(__name__)


def find_images(source: Path, output: Path) -> list[Found]:
    """The images of a file, a folder or a pattern, without those that are results.

    Raises:
        ImageError: There are none.
        SettingsError: They lie in the output folder.
    """
    if source.is_file():
        return [Found(source.parent, (source.name,))]
    folder = source
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    pattern = source.relative_to(folder).as_posix()
    if folder != source and not set("*?[") & set(pattern):
        raise ImageError(f"There is no file or folder {source}; correct INPUT_DIR or the path that you gave.")
    if folder.resolve().is_relative_to(output.resolve()):
        raise SettingsError(
            f"{folder} lies in OUTPUT_DIR ({output}): results would be taken for images; choose another OUTPUT_DIR."
        )
    strangers: Counter[str] = Counter()
    found = find_files(folder, [output.resolve()], strangers)
    if folder != source:
        try:
            chosen = set(folder.glob(pattern))
        except ValueError as error:
            raise ImageError(f"{source} is no pattern that can be searched ({error}).") from error
        found = [file for file in found if not chosen.isdisjoint({file.path, *file.path.parents})]
    elif strangers:
        log.info("Left out, as no images: %d files (%s).", strangers.total(), ", ".join(sorted(strangers)))
    if not found:
        raise ImageError(f"There are no images in {source}; put some there ({', '.join(sorted(SUFFIXES))}).")
    return found


def result_names(images: list[Found]) -> dict[str, Found]:
    """What each image's results are called below the output folder: its path, without suffix if no other shares it."""
    plain = ["/".join((*found.folder, found.stem)) for found in images]
    shared = Counter(name.casefold() for name in plain)  # Windows takes x.png and X.png for one file
    return {found.id if shared[name.casefold()] > 1 else name: found for name, found in zip(plain, images, strict=True)}
