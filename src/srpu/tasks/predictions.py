"""What was predicted already: one small record per image, hidden beside the results, and the table made from them."""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srpu.errors import WorkspaceError
from srpu.files import read_json, write_json, write_text, writing_to

log = logging.getLogger(__name__)

TABLE = "phase_fractions.csv"

_README = """SRPU remembers here which images it has segmented, and with what.
Deleting this folder is safe: the next `srpu predict` then does everything again.
"""


@dataclass(frozen=True)
class Prediction:
    """What is remembered about one image file.

    Attributes:
        source: The image's path.
        image_sha256: Hash of the file.
        made_with: Hash of the model and of every setting that changes the results.
        files: The results, relative to the output folder, the mask first.
        rows: The table's row for each page.
    """

    source: str
    image_sha256: str
    made_with: str
    files: list[str]
    rows: list[dict[str, Any]]


class Predictions:
    """All that an output folder holds.

    Raises:
        WorkspaceError: The folder cannot be written.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.hidden = output / ".srpu"
        write_text(self.hidden / "README.txt", _README)  # a folder that is read-only fails before work is done

    def find(self, name: str) -> Prediction | None:
        """What is remembered under ``name``, if its mask still exists."""
        path = self._record(name)
        return self._read(path) if path.exists() else None

    def keep(self, name: str, prediction: Prediction) -> None:
        """Remember ``prediction`` under ``name``."""
        write_json(self._record(name), asdict(prediction))

    def forget(self, name: str, files: list[str]) -> None:
        """Delete what an earlier prediction of ``name`` wrote beyond ``files``: it does not belong to the new mask."""
        known = self.find(name)
        for file in set(known.files if known else ()) - set(files):
            with writing_to(self.output / file):
                (self.output / file).unlink(missing_ok=True)
            log.info("Removed, because it belongs to the mask before: %s", self.output / file)

    def is_whole(self, prediction: Prediction) -> bool:
        """Whether all its files are still there."""
        return all((self.output / file).exists() for file in prediction.files)

    def write_table(self) -> Path:
        """Write the area fractions of all images whose masks are in the folder, as CSV that Excel reads.

        Raises:
            WorkspaceError: It cannot be written, e.g. because Excel holds it open.
        """
        found = [self._read(path) for path in self._records().rglob("*.json")]
        found.sort(key=lambda prediction: prediction.files if prediction else [])
        rows = [row for prediction in found if prediction for row in prediction.rows]
        text = io.StringIO()
        columns = dict.fromkeys(column for row in rows for column in row)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path = self.output / TABLE
        try:
            write_text(path, "\ufeff" + text.getvalue())
        except WorkspaceError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            raise WorkspaceError(
                f"{error} If {TABLE} is open in another program, close it there and run the same command again; "
                f"what is segmented is not done twice."
            ) from error
        return path

    def _read(self, path: Path) -> Prediction | None:
        prediction = Prediction(**read_json(path))
        return prediction if (self.output / prediction.files[0]).exists() else None

    def _records(self) -> Path:
        return self.hidden / "predictions"

    def _record(self, name: str) -> Path:
        return self._records() / f"{name}.json"
