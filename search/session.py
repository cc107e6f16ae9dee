"""A definition with its table, and a search of it in this process.

definition -> experiment -> study -> Search -> shelf
"""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from search.store.attributes import DEFINITION, FINGERPRINT
from search.store.storage import default_url, load_study, open_storage, shown
from studies.definition import StudyDefinition
from studies.examples import write_example
from trainer.checkpoint import Checkpoint, library_versions
from trainer.commands.device import pick_device
from trainer.errors import ConfigError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    make_checkpoint,
    prepare_experiment,
)
from trainer.loop.fit import TrainResult
from trainer.steps.compiler import build


@dataclass(frozen=True)
class Session:
    """A definition with its table prepared, and where its results go."""

    definition: StudyDefinition
    experiment: Experiment
    workspace: Path
    url: str

    @property
    def best_folder(self) -> Path:
        """Folder of the best trial's checkpoint."""
        return self.workspace / self.definition.name / "best"

    @property
    def shelf_folder(self) -> Path:
        """Folder of the artifacts of all the workspace's studies."""
        return self.workspace / "artifacts"

    def checkpoint(self, number: int, value: float | None, result: TrainResult) -> Checkpoint:
        """Return the checkpoint of a trial's result, its test scores yet unknown."""
        return make_checkpoint(self.experiment, result, self.trial(number, value))

    def trial(self, number: int, value: float | None) -> dict[str, Any]:
        """Return what a checkpoint says of the trial it comes from."""
        return {
            "study": self.definition.name,
            "storage": shown(self.url),
            "number": number,
            "objective": self.definition.objective,
            "value": value,
        }


def environment() -> dict[str, str]:
    """Return what decides a trial's bits besides its config and table."""
    return {
        **library_versions(),
        "threads": str(torch.get_num_threads()),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "steps": build().how,
    }


def prepare(definition: StudyDefinition, workspace: Path, url: str | None, device: str) -> Session:
    """Read the table, split it and place it on the device; refuses bad input before any trial."""
    torch.set_num_threads(1)
    chosen = pick_device(device)
    _make_workspace(workspace)
    sizes = definition.split
    experiment = prepare_experiment(
        _table_path(definition, workspace),
        definition.table.roles,
        SplitSettings(sizes.val_size, sizes.test_size, definition.seed),
        chosen,
    )
    url = url or definition.storage or default_url(workspace)
    return Session(definition, experiment, workspace, url)


def open_records(name: str, workspace: Path, url: str | None) -> tuple[optuna.Study, str]:
    """Return a study that exists and its storage's URL; raises ConfigError with those there are."""
    if url is None and not (workspace / "studies.db").exists():
        raise ConfigError(
            f"no studies in workspace {workspace}; name another with --workspace or --storage"
        )
    url = url or default_url(workspace)
    return load_study(open_storage(url), name), url


def reopen(
    name: str, workspace: Path, url: str | None, csv: Path | None, device: str
) -> tuple[optuna.Study, Session]:
    """Return a study with its table prepared as when it was searched.

    `csv` says where the table is now, if it has moved. Raises ConfigError if it is another one.
    """
    study, url = open_records(name, workspace, url)
    stored = study.user_attrs.get(DEFINITION)
    if stored is None:
        raise ConfigError(f"study {name!r} was not searched by raretune; name another")
    definition = StudyDefinition.model_validate(stored)
    if csv is not None:
        moved = definition.table.model_copy(update={"csv": csv, "example": None})
        definition = definition.model_copy(update={"table": moved})
    session = prepare(definition, workspace, url, device)
    fingerprint = definition.fingerprint(session.experiment.table.hash)
    if study.user_attrs.get(FINGERPRINT) != json.loads(json.dumps(fingerprint)):
        raise ConfigError(
            f"{session.experiment.table.path} is not the table that study {name!r} was searched "
            "on; name that one with --csv"
        )
    return study, session


def _make_workspace(workspace: Path) -> None:
    try:
        workspace.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"can't make workspace {workspace}: {error.strerror}; name another with --workspace"
        ) from error
    if not os.access(workspace, os.W_OK | os.X_OK):
        raise ConfigError(f"can't write to workspace {workspace}; name another with --workspace")


def _table_path(definition: StudyDefinition, workspace: Path) -> Path:
    source = definition.table
    if source.csv is not None:
        return source.csv
    if source.example is not None:
        path = workspace / "tables" / f"{source.example}.csv"
        if not path.exists():
            write_example(source.example, path)
        return path
    raise ConfigError(
        f"study {definition.name!r} names no table; give one with --csv FILE --label COLUMN"
    )
