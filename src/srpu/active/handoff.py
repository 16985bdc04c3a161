"""The folder that a round hands out: what to correct, how, and what each file shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from srpu.active.imagej import CORRECTED, CORRECTED_ENDING, LUT, MACRO, MASK_ENDING, write_lut, write_macro
from srpu.active.labels import Ids, ids_hash
from srpu.active.query import Query, Window
from srpu.data.classes import IGNORE, ClassMap
from srpu.data.images import write_image
from srpu.data.masks import read_mask, write_mask
from srpu.errors import MaskError, WorkspaceError
from srpu.files import make_folder, read_json, write_json, write_text

SELECTION = "selection_info.json"
INSTRUCTIONS = "INSTRUCTIONS.txt"


@dataclass(frozen=True)
class Handed:
    """One query as it is handed out.

    Attributes:
        query: What is asked for.
        cut: What the files show of the image.
        rank: 1: the most wanted.
        score: How much it is wanted; None: there was no model to tell.
        reason: Why it is asked for.
        colored: Whether the mask is there in colours too.
    """

    query: Query
    cut: Window
    rank: int
    score: float | None = None
    reason: str = ""
    colored: bool = True

    @property
    def name(self) -> str:
        """What its files are called, without endings."""
        return self.query.name

    @property
    def files(self) -> dict[str, str]:
        """Its files by what they are, and where the corrected mask is looked for."""
        files = {
            "image": f"{self.name}.tif",
            "mask": f"{self.name}{MASK_ENDING}",
            "corrected": f"{CORRECTED}/{self.name}{CORRECTED_ENDING}",
        }
        return files | ({"colored": f"{self.name}_predicted_mask.png"} if self.colored else {})

    def plain(self) -> dict[str, Any]:
        """As selection_info.json has it.

        There, "written" holds besides the hashes of all masks that were ever handed out for it, the newest last
        (:func:`srpu.active.labels.ids_hash`): a mask that has another one was edited.
        """
        return {
            "name": self.name,
            "id": self.query.id,
            "image": self.query.image,
            "window": None if self.query.window is None else list(self.query.window),
            "cut": list(self.cut),
            "files": self.files,
            "rank": self.rank,
            "score": self.score,
            "reason": self.reason,
        }


class Handover:
    """The folder of a round while it is written; it can be written again after a crash.

    Args:
        folder: Where to.
        number: Of the round.
        model: Hash of the model that predicted; None: there is none yet.
        classes: What ids mean.
        names: Of the queries; what the folder says about others is forgotten.
    """

    def __init__(self, folder: Path, number: int, model: str | None, classes: ClassMap, names: Collection[str]) -> None:
        self.folder = folder
        self._number, self._model, self._classes = number, model, classes
        self._entries = {name: one for name, one in _noted(folder / SELECTION).items() if name in names}

    def write(
        self, handed: Handed, image: Shaped[np.ndarray, "h w"], ids: Ids, *, pixel_size_nm: float | None = None
    ) -> bool:
        """Write the files of one query; a mask that somebody has edited is left alone, which gives False.

        Args:
            handed: What it is.
            image: Grey levels of what is cut out.
            ids: The mask to correct, of the same size.
            pixel_size_nm: Edge of a pixel, where it is known.

        Raises:
            WorkspaceError: A file cannot be written.
        """
        mask = self.folder / handed.files["mask"]
        before = _hashes(self._entries.get(handed.name))
        edited = mask.exists() and not _is_one_of(mask, self._classes, before)
        now = ids_hash(ids)
        written = before if edited else [*(one for one in before if one != now), now]
        self._entries[handed.name] = handed.plain() | {"written": written}
        self.note()  # first what will be there, as the process may be killed in between
        if not (self.folder / handed.files["image"]).exists():
            pixels = np.ascontiguousarray(image)
            write_image(self.folder / handed.files["image"], pixels, pixel_size_nm=pixel_size_nm)
        if edited:
            return False
        write_mask(mask, ids, self._classes)
        if handed.colored:
            write_mask(self.folder / handed.files["colored"], ids, self._classes)
        return True

    def note(self) -> None:
        """Write selection_info.json.

        Raises:
            WorkspaceError: It cannot be written.
        """
        classes = self._classes
        content = {
            "round": self._number,
            "model": self._model,
            "classes": [
                {"id": id_, "name": name, "color": list(color)}
                for id_, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
            ],
            "not_labelled": {"id": classes.ignore_index, "color": list(classes.ignore_color)},
            "queries": sorted(self._entries.values(), key=lambda one: int(one["rank"])),
        }
        write_json(self.folder / SELECTION, content)

    def write_aids(self) -> None:
        """Write what helps: the macro, the colours, what to do, and the folder for what is corrected.

        Raises:
            WorkspaceError: A file cannot be written.
        """
        make_folder(self.folder / CORRECTED)
        write_lut(self.folder / LUT, self._classes)
        windows = {}
        for name, one in self._entries.items():
            if one["window"] is not None:
                window, cut = Window(*one["window"]), Window(*one["cut"])
                windows[name] = window._replace(top=window.top - cut.top, left=window.left - cut.left)
        write_macro(self.folder / MACRO, self._classes, windows)
        text = instructions(self._classes, self._number, len(self._entries), regions=bool(windows))
        write_text(self.folder / INSTRUCTIONS, text)


_NEEDED = {"rank", "window", "cut", "written"}


def _noted(path: Path) -> dict[str, dict[str, Any]]:
    """What an earlier beginning has noted of each query."""
    try:
        return {one["name"]: one for one in read_json(path)["queries"] if one.keys() >= _NEEDED}
    except (FileNotFoundError, WorkspaceError, KeyError, TypeError, AttributeError):  # none yet, or damaged
        return {}


def _hashes(entry: Mapping[str, Any] | None) -> list[str]:
    return [str(one) for one in entry["written"]] if entry else []


def _is_one_of(path: Path, classes: ClassMap, hashes: Sequence[str]) -> bool:
    """Whether a mask is as it was handed out, in whatever way it was saved again."""
    try:
        return ids_hash(read_mask(path, classes).ids) in hashes
    except MaskError:  # whoever has made it so may want it back
        return False


def cut_around(window: Window | None, shape: tuple[int, int], context: int) -> Window:
    """What is shown of an image of ``shape``: ``window`` and ``context`` pixels around it, or all of it.

    >>> cut_around(Window(10, 100, 32, 32), (200, 150), 20)
    Window(top=0, left=80, height=62, width=70)
    """
    height, width = shape
    if window is None:
        return Window(0, 0, height, width)
    top, left = max(window.top - context, 0), max(window.left - context, 0)
    bottom = min(window.top + window.height + context, height)
    right = min(window.left + window.width + context, width)
    return Window(top, left, bottom - top, right - left)


def mask_to_correct(
    shape: tuple[int, int], rows: int, predicted: Ids | None, labelled: Ids | None, window: Window | None
) -> Ids:
    """The mask of a whole image that somebody corrects.

    Args:
        shape: Height and width of the image.
        rows: Above the data bar, which stays 255.
        predicted: What a model finds, at least in these rows; None: nothing, so 255.
        labelled: What is labelled already, which is shown instead; 255 where nothing is.
        window: The part that is asked for; around it all is 255.
    """
    ids = np.full(shape, IGNORE, np.uint8)
    if predicted is not None:
        ids[:rows] = predicted[:rows]
    if labelled is not None:
        ids = np.where(labelled == IGNORE, ids, labelled)
    asked: Bool[np.ndarray, "h w"] = np.zeros(shape, bool)
    asked[window.slices if window else ...] = True
    asked[rows:] = False
    return np.where(asked, ids, np.uint8(IGNORE)).astype(np.uint8)


def heat(uncertainty: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Uncertainty from 0 (black) over red and yellow to 1 (white); what is not known is black.

    >>> heat(np.array([[0.0, 0.5, 1.0]]))[0].tolist()
    [[0, 0, 0], [255, 128, 0], [255, 255, 255]]
    """
    known = np.nan_to_num(uncertainty.astype(np.float64), nan=0.0)[..., None]
    channels = (known * 3 - np.arange(3)).clip(0, 1)  # red rises first, then green, then blue
    levels: UInt8[np.ndarray, "h w 3"] = np.rint(channels * np.iinfo(np.uint8).max).astype(np.uint8)
    return levels


def instructions(classes: ClassMap, number: int, count: int, *, regions: bool) -> str:
    """What to do with the folder, in English and then in Chinese.

    Args:
        classes: What is painted.
        number: Of the round.
        count: How many masks there are.
        regions: Whether parts of images are asked for.
    """
    shown = [*zip(range(len(classes)), classes.colors, classes.names, strict=True)]
    numbers = [*shown, (classes.ignore_index, classes.ignore_color, None)]
    facts: dict[str, Any] = {"number": number, "count": count, "last": min(len(classes), 10) - 1, "macro": MACRO}
    facts["masks"] = f"{count} mask{'s' * (count != 1)}"
    english = "\n".join(f"  {id_:>3}  {_word(rgb)[0]} {rgb}: {name or 'not labelled'}" for id_, rgb, name in numbers)
    chinese = "\n".join(f"  {id_:>3}  {_word(rgb)[1]} {rgb}：{name or '未标注'}" for id_, rgb, name in numbers)
    return (
        _ENGLISH.format(**facts, table=english, region=_REGION if regions else "")
        + _CHINESE.format(**facts, table=chinese, region=_REGION_CHINESE if regions else "")
    )  # fmt: skip


def _word(rgb: tuple[int, int, int]) -> tuple[str, str]:
    """What a colour is called, in English and Chinese.

    >>> _word((255, 126, 126)), _word((0, 0, 250))
    (('pink', '粉红色'), ('blue', '蓝色'))
    """
    return _WORDS[min(_WORDS, key=lambda one: sum((ours - own) ** 2 for ours, own in zip(one, rgb, strict=True)))]


_WORDS = {
    (0, 0, 0): ("black", "黑色"),
    (128, 128, 128): ("grey", "灰色"),
    (255, 255, 255): ("white", "白色"),
    (255, 0, 0): ("red", "红色"),
    (255, 128, 0): ("orange", "橙色"),
    (255, 255, 0): ("yellow", "黄色"),
    (0, 255, 0): ("green", "绿色"),
    (0, 128, 0): ("dark green", "深绿色"),
    (0, 255, 255): ("light blue", "青色"),
    (0, 0, 255): ("blue", "蓝色"),
    (0, 0, 128): ("dark blue", "深蓝色"),
    (128, 0, 128): ("violet", "紫色"),
    (255, 0, 255): ("magenta", "品红色"),
    (255, 128, 128): ("pink", "粉红色"),
    (128, 64, 0): ("brown", "棕色"),
}

_REGION = """
Only the window in the yellow frame is asked for. What lies around it shows where you are; leave it black.
"""

_REGION_CHINESE = """
每幅图只需标注黄色框内的窗口；四周只用于显示位置，请保持黑色。
"""

_ENGLISH = """\
Round {number} of active learning: {masks} to correct
(中文说明在下面)

What each colour means:
{table}
{region}
With ImageJ or Fiji (any computer; copy this whole folder to it)

1. Plugins > Macros > Run..., and choose {macro} in this folder.
   It opens the first mask with its SEM image laid over it. You paint the mask; the image over it cannot be painted.
2. Paint with the left mouse button. Keys:
   0 to {last}  paint this class      x  paint "not labelled"      c  choose a class from a list
   w, q    wider, narrower pencil     Ctrl+Z  undo the last stroke
   o       SEM image on or off        i       SEM image fainter or stronger       + and -  zoom
3. Key s saves the mask to corrected/NAME_mask.tif and opens the next one.
   n: the next one without saving. p: any one by its name, also one that is done.
   The prediction is right? Press s all the same: a mask that is saved unchanged can be taken as it is (below).
4. When all are done, copy this folder back and type:

   srpu active take-in                 takes what you have corrected
   srpu active take-in --unchanged     the same, and masks that you saved unchanged are right as they are
   srpu active skip NAME --why "..."   this one shall not be asked for again

With another program: edit NAME_predicted_mask.tif and save it as corrected/NAME_mask.tif (or .png), at the same size,
in exactly these colours or ids. Never smooth, scale, rotate or filter a mask, and never save it as JPEG: the mean of
two classes is a third one. Where you are not sure, paint "not labelled": it is better than a guess.

"""

_CHINESE = """\
------------------------------------------------------------------------

主动学习第 {number} 轮：{count} 个待修改的掩膜

各颜色的含义：
{table}
{region}
使用 ImageJ 或 Fiji（任何电脑均可；请复制整个文件夹）

1. 菜单 Plugins > Macros > Run...，选择本文件夹中的 {macro}。
   它会打开第一个掩膜，并把 SEM 图像叠加在上面。您涂画的是掩膜；叠加的图像不会被改动。
2. 用鼠标左键涂画。按键：
   0 至 {last}  涂该类别            x  涂为“未标注”          c  从列表中选择类别
   w、q    画笔加粗、变细        Ctrl+Z  撤销上一笔
   o       显示或隐藏 SEM 图像   i       改变 SEM 图像的透明度      + 和 -  缩放
3. 按 s：保存到 corrected/名称_mask.tif，并打开下一个。
   n：不保存，打开下一个。p：按名称打开任意一个（包括已完成的）。
   预测完全正确？同样按 s：未改动而保存的掩膜可以原样收回（见下）。
4. 全部完成后，把本文件夹复制回原处，并输入：

   srpu active take-in                 收回您修改好的掩膜
   srpu active take-in --unchanged     同上，并确认未改动而保存的掩膜是正确的
   srpu active skip 名称 --why "..."   不再请求标注这一幅

使用其他软件：修改 名称_predicted_mask.tif，保存为 corrected/名称_mask.tif（或 .png），尺寸不变，只用上述颜色或编号。
切勿对掩膜做平滑、缩放、旋转或滤波，也不要保存为 JPEG：两个类别的平均值会变成第三个类别。
没有把握的地方请涂为“未标注”，这比猜测更好。
"""
