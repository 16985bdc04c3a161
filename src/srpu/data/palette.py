"""Writing masks: class ids as palette images, which every viewer shows in the classes' colours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import Image

from srpu.data.classes import IGNORE, ClassMap
from srpu.errors import MaskError
from srpu.files import open_replacing, replacing

Ids = UInt8[np.ndarray, "h w"]


def write_mask(path: Path, ids: Ids, classes: ClassMap) -> None:
    """Write class ids as a palette PNG or TIFF, as the suffix says.

    Raises:
        MaskError: The suffix is neither.
        WorkspaceError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        write_mask_stack(path, [ids], classes)
    elif suffix == ".png":
        picture = Image.fromarray(_as_in_files(ids, classes))
        picture.putpalette(classes.palette(classes.ignore_index).tobytes())
        with open_replacing(path) as file:
            picture.save(file, format="PNG", compress_level=4)
    else:
        raise MaskError(f"{path} cannot be written: masks are .png or .tif files, other formats may change ids.")


def write_mask_stack(path: Path, pages: Iterable[Ids], classes: ClassMap) -> None:
    """Write class ids as the pages of one palette TIFF; they are taken one at a time.

    Raises:
        WorkspaceError: The file cannot be written.
    """
    colormap = classes.palette(classes.ignore_index).T.astype(np.uint16) * 257
    with replacing(path) as temporary, tifffile.TiffWriter(temporary) as tif:
        for ids in pages:
            stored = _as_in_files(ids, classes)
            tif.write(stored, photometric="palette", colormap=colormap, compression="zlib", metadata=None)


def _as_in_files(ids: Ids, classes: ClassMap) -> Ids:
    """``IGNORE`` as the project's own ignore index."""
    if classes.ignore_index == IGNORE:
        return np.ascontiguousarray(ids)
    return np.where(ids == IGNORE, np.uint8(classes.ignore_index), ids)
