"""What ImageJ and Fiji need to correct masks: the classes' colours as a lookup table, and a macro."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

import numpy as np
from jaxtyping import UInt8

from srpu.active.query import Window
from srpu.data.classes import ClassMap
from srpu.files import open_replacing, write_text

LUT = "SRPU_labels.lut"
MACRO = "SRPU_correct_masks.ijm"
CORRECTED = "corrected"

MASK_ENDING = "_predicted_mask.tif"
"""After a query's name: the mask that is handed out."""

CORRECTED_ENDING = "_mask.tif"
"""After a query's name: the mask that comes back."""

_KEYS = 10  # classes with a key of their own: the digits


def painting_colours(classes: ClassMap) -> UInt8[np.ndarray, "256 3"]:
    """The colour of each id while somebody paints: unused ids have that of class 0.

    ImageJ paints the lowest id whose colour is nearest to the chosen one, so that whatever colour is chosen, the id is
    one that means something.

    >>> painting_colours(ClassMap(("pore", "grain"), ((0, 0, 255), (255, 0, 0))))[[0, 1, 7, 255]].tolist()
    [[0, 0, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]]
    """
    colours = np.full((256, 3), classes.colors[0], np.uint8)
    colours[: len(classes)] = classes.colors
    colours[classes.ignore_index] = classes.ignore_color
    return colours


def write_lut(path: Path, classes: ClassMap) -> None:
    """Write :func:`painting_colours` as ImageJ reads a lookup table: 256 reds, then greens, then blues.

    Raises:
        WorkspaceError: The file cannot be written.
    """
    with open_replacing(path) as file:
        file.write(painting_colours(classes).T.tobytes())


def write_macro(path: Path, classes: ClassMap, windows: Mapping[str, Window] | None = None) -> None:
    """Write the macro for these classes; it knows no folder but the one it lies in.

    Args:
        path: The file.
        classes: What can be painted.
        windows: For names whose files show more than is asked for, where in them that is; it gets a yellow frame.

    Raises:
        WorkspaceError: The file cannot be written.
    """
    write_text(path, macro(classes, windows))


def macro(classes: ClassMap, windows: Mapping[str, Window] | None = None) -> str:
    """The macro, in ASCII letters alone: ImageJ on Windows reads no others."""
    names = [*classes.names, "not labelled"]
    ids = [*range(len(classes)), classes.ignore_index]
    colours = [*classes.colors, classes.ignore_color]
    framed = windows or {}
    keys = "\n".join(
        f'macro "Paint class {id_} [{id_}]" {{ choose({id_}); }}' for id_ in range(min(len(classes), _KEYS))
    )
    return Template(_MACRO).substitute(
        ids=", ".join(map(str, ids)),
        names=", ".join(map(_quoted, names)),
        colours=", ".join(f"{red}, {green}, {blue}" for red, green, blue in colours),
        spare=", ".join(str(level) for level in _spare(classes)),
        framed=", ".join(map(_quoted, framed)) or 0,
        frames=", ".join(f"{one.left}, {one.top}, {one.width}, {one.height}" for one in framed.values()) or 0,
        ignored=len(classes),
        keys=keys,
        macro=MACRO,
        lut=LUT,
        mask=MASK_ENDING,
        corrected=CORRECTED,
        ending=CORRECTED_ENDING,
    )


def _spare(classes: ClassMap) -> list[int]:
    """The colour that unused ids have in SRPU's files: one that no class has."""
    colours = classes.palette(classes.ignore_index)
    used = {*range(len(classes)), classes.ignore_index}
    spare: list[int] = colours[next(id_ for id_ in range(256) if id_ not in used)].tolist()
    return spare


def _quoted(text: str) -> str:
    r"""As a string of ImageJ's macro language.

    >>> print(_quoted('a "b"'), _quoted("SE 碳"))
    "a 'b'" "SE " + fromCharCode(30899)
    """
    parts = []
    for part in re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]+", text.replace('"', "'").replace("\\", "/")):
        units = np.frombuffer(part.encode("utf-16-le"), "<u2").tolist()  # Java counts letters like this
        parts.append(f'"{part}"' if part.isascii() else f"fromCharCode({', '.join(map(str, units))})")
    return " + ".join(parts) or '""'


_MACRO = r"""// Corrects the predicted masks in the folder that this file lies in; see INSTRUCTIONS.txt.
// Run it in ImageJ or Fiji with Plugins > Macros > Run...

var ids = newArray($ids);
var names = newArray($names);
var colours = newArray($colours);
var spare = newArray($spare);
var ignored = $ignored;
var framed = newArray($framed);
var frames = newArray($frames);
var opacity = 60;

macro "Start" {
    argument = getArgument();
    folder = ownFolder();
    if (startsWith(argument, "batch")) {
        batch(folder, substring(argument, 5));
    } else {
        if (hasKeys(folder))
            run("Install...", "install=[" + folder + "$macro]");
        choose(ids[0]);
        openNext(folder, "");
    }
}

$keys
macro "Paint not labelled [x]" { choose(ids[ignored]); }
macro "Choose a class [c]" { askClass(); }
macro "Save and open the next [s]" { saveAndNext(folderOf(), nameOf()); }
macro "Open the next without saving [n]" { openNext(folderOf(), nameOf()); }
macro "Open one by its name [p]" { askName(folderOf()); }
macro "SEM image on or off [o]" { nameOf(); if (Overlay.hidden) Overlay.show; else Overlay.hide; }
macro "SEM image fainter or stronger [i]" { nameOf(); opacity = (opacity + 20) % 100; layOver(); }
macro "Wider pencil [w]" { setPencil(pencil() + 2); }
macro "Narrower pencil [q]" { setPencil(pencil() - 2); }
macro "SRPU Pencil Tool - C00aL3cc3L4dd4L3c2fL4d2fC000O0033" { paint(); }
macro "SRPU Pencil Tool Options" { setPencil(getNumber("Width of the pencil in pixels:", pencil())); }

// folders and names

function ownFolder() {
    path = getInfo("macro.filepath");
    folder = "";
    if (path != "" && File.exists(path))
        folder = File.getParent(path) + "/";
    if (folder == "" || !File.exists(folder + "$lut"))
        folder = getDirectory("Choose the folder with $lut");
    return folder;
}

// ImageJ cannot install keys from a path with this bracket; without keys, run this file once for each mask.
function hasKeys(folder) {
    if (indexOf(folder, "]") < 0)
        return true;
    return false;
}

function nameOf() {
    title = getTitle();
    if (!endsWith(title, " - mask"))
        exit("Click on the window of the mask first: its title ends with \"- mask\".");
    return substring(title, 0, lengthOf(title) - lengthOf(" - mask"));
}

function folderOf() {
    nameOf();
    folder = replace(getInfo("image.directory"), "\\\\", "/");
    if (endsWith(folder, "/$corrected/"))
        folder = substring(folder, 0, lengthOf(folder) - lengthOf("$corrected/"));
    return folder;
}

function allNames(folder) {
    files = getFileList(folder);
    found = newArray(0);
    for (i = 0; i < files.length; i++)
        if (endsWith(files[i], "$mask"))
            found = Array.concat(found, substring(files[i], 0, lengthOf(files[i]) - lengthOf("$mask")));
    if (found.length == 0)
        exit("There is no mask in this folder:\n" + folder);
    return found;
}

function corrected(folder, name) {
    return folder + "$corrected/" + name + "$ending";
}

// opening and saving

function openNext(folder, before) {
    every = allNames(folder);
    start = 0;
    for (i = 0; i < every.length; i++)
        if (every[i] == before)
            start = i + 1;
    for (i = 0; i < every.length; i++) {
        name = every[(start + i) % every.length];
        if (!File.exists(corrected(folder, name))) {
            openPair(folder, name);
            return;
        }
    }
    closePair();
    showMessage("SRPU", "All " + every.length + " masks are in the folder $corrected.\n"
        + "Copy this folder back to where it came from and type: srpu active take-in");
}

function openPair(folder, name) {
    closePair();
    open(folder + name + ".tif");
    rename("SEM image");
    run("Enhance Contrast", "saturated=0.35");
    path = folder + name + "$mask";
    if (File.exists(corrected(folder, name)))
        path = corrected(folder, name);
    open(path);
    rename(name + " - mask");
    if (bitDepth() != 8)
        exit("This file is no 8-bit mask any more; delete it and begin again:\n" + path);
    open(folder + "$lut");
    layOver();
    if (!is("Batch Mode") && hasKeys(folder))
        setTool("SRPU Pencil Tool");
}

function saveAndNext(folder, name) {
    saveMask(folder, name);
    openNext(folder, name);
}

function layOver() {
    Overlay.remove;
    if (isOpen("SEM image"))
        run("Add Image...", "image=[SEM image] x=0 y=0 opacity=" + opacity);
    for (i = 0; i < framed.length; i++) {
        if (framed[i] == nameOf()) {
            setColor("yellow");
            setLineWidth(1);
            Overlay.drawRect(frames[4 * i], frames[4 * i + 1], frames[4 * i + 2], frames[4 * i + 3]);
            Overlay.show;
        }
    }
}

function closePair() {
    titles = getList("image.titles");
    for (i = 0; i < titles.length; i++) {
        if (titles[i] == "SEM image" || endsWith(titles[i], " - mask")) {
            selectWindow(titles[i]);
            close();
        }
    }
}

function saveMask(folder, name) {
    if (bitDepth() != 8 || nSlices() != 1)
        exit("This is no 8-bit mask any more; take it back with File > Revert.");
    run("Select None");
    getHistogram(0, counts, 256);
    for (i = 0; i < ids.length; i++)
        counts[ids[i]] = 0;
    for (i = 0; i < 256; i++)
        if (counts[i] > 0)
            exit("Not saved: " + counts[i] + " pixels have the value " + i + ", which is no class.\n"
                + "A filter or an adjustment has changed the mask; take it back with Edit > Undo or File > Revert.");
    Overlay.remove;
    setFileColours();
    File.makeDirectory(folder + "$corrected");
    saveAs("Tiff", corrected(folder, name));
    rename(name + " - mask");
}

// In files, values that are no class have a colour that is no class's.
function setFileColours() {
    getLut(reds, greens, blues);
    used = newArray(256);
    for (i = 0; i < ids.length; i++)
        used[ids[i]] = 1;
    for (i = 0; i < 256; i++) {
        if (used[i] == 0) {
            reds[i] = spare[0];
            greens[i] = spare[1];
            blues[i] = spare[2];
        }
    }
    setLut(reds, greens, blues);
}

// Opens and saves what is not corrected; in between it runs the macro file "painter", if there is one.
function batch(folder, painter) {
    every = allNames(folder);
    for (k = 0; k < every.length; k++) {
        if (!File.exists(corrected(folder, every[k]))) {
            openPair(folder, every[k]);
            if (painter != "")
                runMacro(painter, every[k]);
            selectWindow(every[k] + " - mask");
            saveMask(folder, every[k]);
        }
    }
    closePair();
    print("SRPU: done");
}

// painting

function choose(id) {
    for (i = 0; i < ids.length; i++) {
        if (ids[i] == id) {
            setForegroundColor(colours[3 * i], colours[3 * i + 1], colours[3 * i + 2]);
            showStatus("painting " + names[i]);
        }
    }
}

function askClass() {
    Dialog.create("SRPU");
    Dialog.addChoice("Paint", names);
    Dialog.show();
    chosen = Dialog.getChoice();
    for (i = 0; i < names.length; i++)
        if (names[i] == chosen)
            choose(ids[i]);
}

function askName(folder) {
    every = allNames(folder);
    shown = newArray(every.length);
    for (i = 0; i < every.length; i++) {
        shown[i] = every[i];
        if (File.exists(corrected(folder, every[i])))
            shown[i] = every[i] + " (corrected)";
    }
    Dialog.create("SRPU");
    Dialog.addChoice("Open", shown);
    Dialog.show();
    chosen = Dialog.getChoice();
    for (i = 0; i < every.length; i++)
        if (shown[i] == chosen)
            openPair(folder, every[i]);
}

function pencil() {
    return parseInt(call("ij.Prefs.get", "srpu.pencil", "9"));
}

function setPencil(width) {
    width = minOf(maxOf(round(width), 1), 200);
    call("ij.Prefs.set", "srpu.pencil", "" + width);
    showStatus("pencil: " + width + " pixels");
}

function paint() {
    nameOf();
    setupUndo();
    setColor(getValue("color.foreground"));
    setLineWidth(pencil());
    getCursorLoc(x, y, z, flags);
    x2 = x;
    y2 = y;
    drawLine(x, y, x, y);
    updateDisplay();
    while (flags & 16 != 0) {
        getCursorLoc(x, y, z, flags);
        if (x != x2 || y != y2) {
            drawLine(x2, y2, x, y);
            updateDisplay();
        }
        x2 = x;
        y2 = y;
        wait(10);
    }
}
"""
