"""A definition with its table prepared: what a search, a retrain and an export train on.

definition -> table -> experiment -> Session
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.store.complaints import without_password
from search.workspace import Workspace
from studies.definition import StudyDefinition
from studies.examples import write_example
from trainer.checkpoint import Checkpoint
from trainer.commands.device import pick_device
from trainer.errors import ConfigError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    make_checkpoint,
    prepare_experiment,
)
from trainer.loop.fit import TrainResult


@dataclass(frozen=True)
class Session:
    """A definition with its table prepared, its workspace, and its storage's URL."""

    definition: StudyDefinition
    experiment: Experiment
    workspace: Workspace
    url: str

    @property
    def best_folder(self) -> Path:
        """Folder of the best trial's checkpoint."""
        return self.workspace.best(self.definition.name)

    @property
    def shelf_folder(self) -> Path:
        """Folder of the artifacts of all the workspace's studies."""
        return self.workspace.artifacts

    def checkpoint(self, number: int, value: float | None, result: TrainResult) -> Checkpoint:
        """Return the checkpoint of a trial's result, its test scores yet unknown."""
        return make_checkpoint(self.experiment, result, self.trial(number, value))

    def trial(self, number: int, value: float | None) -> dict[str, Any]:
        """Return what a checkpoint says of the trial it comes from."""
        return {
            "study": self.definition.name,
            "storage": without_password(self.url),
            "number": number,
            "objective": self.definition.objective,
            "value": value,
        }


def prepare(
    definition: StudyDefinition, workspace: Workspace, url: str | None, device: str
) -> Session:
    """Read the table, split it and place it on the device; refuses bad input before any trial."""
    chosen = pick_device(device)
    workspace.make()
    sizes = definition.split
    experiment = prepare_experiment(
        _table_path(definition, workspace),
        definition.table.roles,
        SplitSettings(sizes.val_size, sizes.test_size, definition.seed),
        chosen,
    )
    return Session(definition, experiment, workspace, url or definition.storage or workspace.url)


def _table_path(definition: StudyDefinition, workspace: Workspace) -> Path:
    source = definition.table
    if source.csv is not None:
        return source.csv
    if source.example is not None:
        path = workspace.example(source.example)
        if not path.exists():
            write_example(source.example, path)
        return path
    raise ConfigError(
        f"study {definition.name!r} names no table; give one with --csv FILE --label COLUMN"
    )
