"""The logs of a run: rows of ``log.csv``, each whole or not there, and the same numbers for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusekit.errors import MissingExtraError, TrainingError
from fusekit.machine.files import check_regular, write_text_atomically

_FIRST = ("step", "phase", "rate", "loss")
_LAST = ("validation_loss", "validation_psnr", "best_step", "seconds")


class CsvLog:
    """Rows by name in a CSV file; the terms of the first row's loss become columns.

    Args:
        path: the file; what an interrupted run left in it is kept, see `trim`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; a value that the first row had no name for is left out."""
        columns = self._columns()
        fresh = not columns
        if fresh:
            columns = [*_FIRST, *(key for key in row if key not in (*_FIRST, *_LAST)), *_LAST]
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})

    def trim(self, step: int) -> None:
        """Drop the rows behind ``step``, which will be computed again, and a line that was cut off while written."""
        if not self.path.exists():
            return
        columns = self._columns()
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines[1:] if _is_row(line, len(columns)) and int(line.split(",")[0]) <= step]
        write_text_atomically(self.path, "".join([lines[0], *kept]) if columns else "")

    def _columns(self) -> list[str]:
        """Return the names in the first line; none where there is no file or the line is not whole."""
        check_regular(self.path, TrainingError)
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8") as file:
            line = file.readline()
        return line.rstrip("\n").split(",") if line.endswith("\n") else []


def _is_row(line: str, columns: int) -> bool:
    fields = line.split(",")
    return line.endswith("\n") and len(fields) == columns and fields[0].isascii() and fields[0].isdigit()


class TensorBoardLog:
    """The numbers of each row as TensorBoard's scalars.

    Args:
        folder: of the event files.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "--log tensorboard needs tensorboard; install it: pip install 'fusekit-imaging[train]'"
            ) from error
        self._folder, self._writer_class = folder, SummaryWriter
        self._writer: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Add the numbers of a row at its step."""
        if self._writer is None:
            self.trim(row["step"] - 1)
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def trim(self, step: int) -> None:
        """Begin a new event file, which tells TensorBoard to leave out what was written of steps behind ``step``."""
        self._writer = self._writer_class(str(self._folder), purge_step=step + 1)
