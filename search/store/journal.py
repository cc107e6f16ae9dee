"""A journal that a process which died while it wrote does not spoil for all others."""

import json
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file

CHUNK = 4096


class Journal(JournalFileBackend):
    """Optuna's journal file; a line that was not written to its end is cut off before the next."""

    def __init__(self, file_path: str) -> None:
        super().__init__(file_path)
        self._opened = os.open(file_path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._opened)

    def write_again(self, path: Path) -> None:
        """Write all entries into a new file, also where the journal's own was removed since."""
        with os.fdopen(os.dup(self._opened), "rb") as source, path.open("xb") as target:
            source.seek(0)
            shutil.copyfileobj(source, target)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the entries from a number on; raises StorageInternalError where one is damaged."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise StorageInternalError(f"the journal is damaged: {error}") from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries, each as a line; the file must be there still."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), Path(self._file_path).open("r+b") as file:
            file.truncate(_whole_lines(file))
            file.seek(0, os.SEEK_END)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _whole_lines(file: BinaryIO) -> int:
    """Return how many bytes the lines have that end, from the first to the last."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - CHUNK)
        file.seek(start)
        if (newline := file.read(end - start).rfind(b"\n")) >= 0:
            return start + newline + 1
        end = start
    return 0
