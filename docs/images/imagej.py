"""A picture of ImageJ at work: `python docs/images/imagej.py`, where Java, Debian's ImageJ and Xvfb are installed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from make import CLASSES, HERE, write
from PIL import Image

from srpu.active.imagej import LUT, MACRO, write_lut, write_macro
from srpu.data.images import write_image
from srpu.data.masks import write_mask
from srpu.data.synthetic import Recipe, generate, vary

JAR = "/usr/share/java/ij.jar"
SCREEN = (800, 404)
SHOT = """
runMacro("{macro}");
setLocation(372, 90);
selectWindow("SEM image"); setLocation(8, 90);
selectWindow("sample 1 - mask");
setForegroundColor(255, 126, 126);
setColor(255, 126, 126); setLineWidth(13); drawLine(20, 30, 90, 45);
updateDisplay();
wait(1500);
run("Capture Screen");
saveAs("PNG", "{shot}");
run("Quit");
"""


def main() -> None:
    """Write imagej.png beside this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, ids = generate(280, 400, seed=7, recipe=vary(Recipe(), 5))
        write_image(folder / "sample 1.tif", image.astype(np.uint16) * 200)
        write_mask(folder / "sample 1_predicted_mask.tif", ids, CLASSES)
        write_lut(folder / LUT, CLASSES)
        write_macro(folder / MACRO, CLASSES)
        shot = folder / "shot.ijm"
        shot.write_text(SHOT.format(macro=folder / MACRO, shot=folder / "shot.png"))
        read, end = os.pipe()
        screen = "x".join(map(str, (*SCREEN, 24)))
        server = subprocess.Popen(  # noqa: S603  (all words are from here)
            ["Xvfb", "-displayfd", str(end), "-screen", "0", screen],  # noqa: S607
            pass_fds=[end],
        )
        try:
            with os.fdopen(read) as told:
                display = f":{told.readline().strip()}"
            subprocess.run(  # noqa: S603
                ["java", f"-Duser.home={folder}", "-cp", JAR, "ij.ImageJ", "-macro", shot],  # noqa: S607
                env={**os.environ, "DISPLAY": display},
                timeout=60,
                check=True,
            )
        finally:
            server.terminate()
            server.wait()
        write(HERE / "imagej.png", np.asarray(Image.open(folder / "shot.png").convert("RGB")))


if __name__ == "__main__":
    main()
