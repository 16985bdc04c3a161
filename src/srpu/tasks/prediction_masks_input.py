"""Which images `srpu active masks` takes, and what their files are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srpu.data.folders import Found
from srpu.data.images import image_info
from srpu.errors import ImageError, SettingsError
from srpu.tasks.active_material import read_material
from srpu.tasks.active_places import Places
from srpu.tasks.inputs import find_images
from srpu.workspace import Workspace


@dataclass(frozen=True)
class Wanted:
    """An image to predict.

    Attributes:
        name: What its files are called, without suffix.
        path: The file.
        page: Page of the file, from 0; None: the file holds one image.
        root: The folder up to which a table of pixel sizes is looked for.
        pixel_size_nm: Edge of a pixel, None if the index does not know it.
    """

    name: str
    path: Path
    page: int | None
    root: Path
    pixel_size_nm: float | None = None


def unlabelled_images(places: Places) -> list[Wanted]:
    """The images of the index that have no mask, by the names under which their masks are found later.

    Raises:
        ImageError: All have masks.
        IndexingError: There is no index.
    """
    material = read_material(places)
    if not material.unlabelled:
        raise ImageError(
            "Every image in the index has a mask already; name the images to predict, `srpu active masks PATH`, or put "
            "new ones into data/raw and run `srpu index`."
        )
    everything = sorted(material.images.values(), key=lambda record: record.id)
    ways = {record.image: _way(record.id, paged=record.page is not None) for record in everything}
    names = _names(ways)
    return [
        Wanted(
            _of_page(names[record.image], record.page),
            path := places.workspace.path(record.image),
            record.page,
            path.parent,
            record.pixel_size_nm,
        )
        for record in sorted(material.unlabelled, key=lambda record: record.id)
    ]


def named_images(sources: Sequence[Path], workspace: Workspace, output: Path, failures: list[str]) -> list[Wanted]:
    """The images of files, folders and patterns; each page of a stack is one.

    Args:
        sources: Seen from where the user stands, or else from the workspace.
        workspace: The user's.
        output: Where results go; what lies in it is not taken.
        failures: Gets a sentence about each file that cannot be read.

    Raises:
        ImageError: There are none.
        SettingsError: They lie in the output folder.
    """
    found: dict[str, Found] = {}
    for source in sources:
        for file in find_images(_there(source, workspace, output), output):
            found.setdefault(str(file.path.resolve()), file)
    names = _names({key: (file.root.name, *file.parts) for key, file in found.items()})
    wanted = []
    for key, file in found.items():
        try:
            pages = image_info(file.path).pages
        except ImageError as error:
            failures.append(str(error))
            continue
        for page in range(pages) if pages > 1 else [None]:
            wanted.append(Wanted(_of_page(names[key], page), file.path, page, file.root))
    return wanted


def _there(source: Path, workspace: Workspace, output: Path) -> Path:
    here = source.expanduser().absolute()
    path = workspace.path(source) if not here.exists() and workspace.path(source).exists() else here
    pattern = set("*?[") & set(str(source))
    if not path.exists() and not pattern:
        raise ImageError(f"There is no file or folder {path}; correct the path.")
    if path.resolve().is_relative_to(output.resolve()):
        raise SettingsError(
            f"{path} lies in {output}, where the masks go: they would be taken for images; choose another --output."
        )
    return path


def _way(id_: str, *, paged: bool) -> tuple[str, ...]:
    return PurePosixPath(id_.rpartition("#")[0] if paged else id_).parts


def _names(ways: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The shortest name of each file that no other has: its own, with its folders, or with its suffix too.

    >>> _names({"1": ("a", "x.tif"), "2": ("b", "x.tif"), "3": ("b", "y.tif"), "4": ("b", "y.png")})
    {'1': 'a__x', '2': 'b__x', '3': 'b__y.tif', '4': 'b__y.png'}
    """
    tries = [{key: name(way) for key, way in ways.items()} for name in (_own, _with_folders, "__".join)]
    shared = [_shared(each.values()) for each in tries]
    names = {}
    for key in ways:
        free = (each[key] for each, taken in zip(tries, shared, strict=True) if each[key].casefold() not in taken)
        names[key] = next(free, tries[-1][key])
    return names


def _own(way: tuple[str, ...]) -> str:
    return PurePosixPath(way[-1]).stem


def _with_folders(way: tuple[str, ...]) -> str:
    return "__".join((*way[:-1], _own(way)))


def _shared(names: Iterable[str]) -> set[str]:
    """Those that several have; Windows takes ``x`` and ``X`` for one name."""
    return {name for name, count in Counter(map(str.casefold, names)).items() if count > 1}


def _of_page(name: str, page: int | None) -> str:
    """A name of a page, from 0, of a stack; people count from 1.

    >>> _of_page("stack", 0)
    'stack__p0001'
    """
    return name if page is None else f"{name}__p{page + 1:04d}"
