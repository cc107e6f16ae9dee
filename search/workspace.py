"""Where things lie: every path within a workspace, and which study is meant.

WORKSPACE/studies.db            the database, where no other storage is named
WORKSPACE/artifacts/            checkpoints and predictions of each study's best trials
WORKSPACE/tables/EXAMPLE.csv    bundled tables that were searched
WORKSPACE/STUDY/best/           the best trial's checkpoint
WORKSPACE/STUDY/ensemble/       the checkpoint of an ensemble of the best trials
WORKSPACE/STUDY/report.html     the study's page
"""

import os
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import ConfigError


@dataclass(frozen=True)
class Workspace:
    """A folder of studies; nothing is made there before `make`."""

    folder: Path

    @property
    def database(self) -> Path:
        """The file of the workspace's own SQLite database."""
        return self.folder / "studies.db"

    @property
    def url(self) -> str:
        """The storage URL of the workspace's own SQLite database."""
        return file_url("sqlite", self.database.resolve())

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts of all the workspace's studies."""
        return self.folder / "artifacts"

    def example(self, name: str) -> Path:
        """Return the file of a bundled table."""
        return self.folder / "tables" / f"{name}.csv"

    def best(self, study: str) -> Path:
        """Return the folder of a study's best checkpoint."""
        return self.folder / study / "best"

    def ensemble(self, study: str) -> Path:
        """Return the folder of the checkpoint of a study's ensemble."""
        return self.folder / study / "ensemble"

    def baselines(self, study: str) -> Path:
        """Return the folder of what baselines predict of a study's rows."""
        return self.folder / study / "baselines"

    def report(self, study: str) -> Path:
        """Return the file of a study's page."""
        return self.folder / study / "report.html"

    def make(self) -> None:
        """Make the folder if need be; raises ConfigError if it can't be made or written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"can't make workspace {self.folder}: {error.strerror}; "
                "name another with --workspace"
            ) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigError(
                f"can't write to workspace {self.folder}; name another with --workspace"
            )


def file_url(kind: str, path: Path) -> str:
    """Return the sqlite or journal URL of a file; what a URL would read differently is escaped."""
    return f"{kind}:///{str(path).replace('%', '%25').replace('?', '%3F')}"


@dataclass(frozen=True)
class Place:
    """A stored study by its name, where it is kept, and what it would be trained on again.

    `storage` is a URL, None for the workspace's own database; `table` is where its table lies now,
    None if that has not moved; `device` is auto, cpu or cuda.
    """

    name: str
    workspace: Workspace
    storage: str | None = None
    table: Path | None = None
    device: str = "auto"

    @property
    def url(self) -> str:
        """The URL of the storage."""
        return self.storage or self.workspace.url

    @property
    def best(self) -> Path:
        """Folder of the study's best checkpoint."""
        return self.workspace.best(self.name)

    @property
    def ensemble(self) -> Path:
        """Folder of the checkpoint of the study's ensemble."""
        return self.workspace.ensemble(self.name)
