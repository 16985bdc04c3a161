"""Which images `srpu active masks` takes, and what their files are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srpu.data.folders import Found
from srpu.data.images import image_info
from srpu.data.index import Record
from srpu.errors import ImageError, IndexingError, SettingsError
from srpu.tasks.active_material import Material, read_material
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
    """The images of the index that have no mask.

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
    names = _Names(material, places.workspace)
    return [names.of_record(record) for record in sorted(material.unlabelled, key=lambda record: record.id)]


def named_images(sources: Sequence[Path], places: Places, output: Path, failures: list[str]) -> list[Wanted]:
    """The images of files, folders and patterns; each page of a stack is one.

    Args:
        sources: Seen from where the user stands, or else from the workspace.
        places: The user's.
        output: Where results go; what lies in it is not taken.
        failures: Gets a sentence about each file that cannot be read.

    Raises:
        ImageError: There are none.
        SettingsError: They lie in the output folder.
    """
    found: dict[Path, Found] = {}
    for source in sources:
        for file in find_images(_there(source, places.workspace, output), output):
            found.setdefault(file.path.resolve(), file)
    try:
        material = read_material(places)
    except IndexingError:  # images need no index to be predicted
        material = Material([], [])
    names = _Names(material, places.workspace, found)
    wanted = []
    for path, file in found.items():
        try:
            pages = image_info(file.path).pages
        except ImageError as error:
            failures.append(str(error))
            continue
        for page in range(pages) if pages > 1 else [None]:
            wanted.append(Wanted(names.name(path, page), file.path, page, file.root))
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


class _Names:
    """What images are called: the same name, whether an image comes out of the index or is named by its path.

    Under its own name alone a mask finds its image in the labelled folder. Pages of stacks are called as rounds call
    them (:attr:`srpu.active.query.Query.name`): by that, corrected masks are known.

    Args:
        material: The images of the index.
        workspace: Where they lie.
        further: Files that may be in it or not.
    """

    def __init__(self, material: Material, workspace: Workspace, further: Mapping[Path, Found] | None = None) -> None:
        self._workspace = workspace
        ways = {path: (file.root.name, *file.parts) for path, file in (further or {}).items()}
        for record in [*material.labelled, *material.unlabelled]:
            id_ = record.id if record.page is None else record.id.rpartition("#")[0]
            ways[workspace.path(record.image).resolve()] = PurePosixPath(id_).parts
        self._whole = _names(ways)
        self._with_folders = {path: _with_folders(way) for path, way in ways.items()}

    def name(self, path: Path, page: int | None) -> str:
        """Of a file, or of its page from 0; people count from 1."""
        return self._whole[path] if page is None else f"{self._with_folders[path]}__p{page + 1:04d}"

    def of_record(self, record: Record) -> Wanted:
        """An image of the index."""
        path = self._workspace.path(record.image)
        return Wanted(self.name(path.resolve(), record.page), path, record.page, path.parent, record.pixel_size_nm)


def _names(ways: Mapping[Path, tuple[str, ...]]) -> dict[Path, str]:
    """The shortest name of each file that no other has: its own, with its folders, or with its suffix too.

    >>> list(_names({Path(): ("a", "x.tif"), Path("1"): ("b", "x.tif"), Path("2"): ("c", "y.tif")}).values())
    ['a__x', 'b__x', 'y']
    """
    tries = [{key: name(way) for key, way in ways.items()} for name in (_own, _with_folders, "__".join)]
    shared = [_shared(each.values()) for each in tries]
    names: dict[Path, str] = {}
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
