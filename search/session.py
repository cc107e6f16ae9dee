"""A definition with its table prepared: what a search, a retrain and an export train on.

definition -> table -> experiment -> Session
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from search.folds import AUTO_FOLDS, Choice, by_positives, by_time
from search.store.complaints import without_password
from search.store.identity import identity_of, trial_digest
from search.store.storage import stored_folds
from search.workspace import Workspace
from studies.definition import LABEL_OBJECTIVE, OBJECTIVES, StudyDefinition
from studies.examples import write_example
from trainer.checkpoint import Checkpoint
from trainer.commands.device import pick_device
from trainer.config import TrainConfig
from trainer.data.table import Table, read_table
from trainer.errors import ConfigError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    make_checkpoint,
    place_experiment,
    split_again,
)
from trainer.loop.fit import TrainResult
from trainer.loop.held_out import HeldOut


@dataclass(frozen=True)
class Session:
    """A definition with its table prepared, its workspace, and its storage's URL.

    `why_folds` is the sentence that says how the number of folds was chosen, if it was; `study_id`
    is the UUID of the study, once that is open.
    """

    definition: StudyDefinition
    experiment: Experiment
    workspace: Workspace
    url: str
    why_folds: str = ""
    study_id: str | None = None

    @property
    def best_folder(self) -> Path:
        """Folder of the best trial's checkpoint."""
        return self.workspace.best(self.definition.name)

    @property
    def shelf_folder(self) -> Path:
        """Folder of the artifacts of all the workspace's studies."""
        return self.workspace.artifacts

    def of(self, study: optuna.Study) -> "Session":
        """Return the session of an open study, whose UUID its checkpoints then carry."""
        return replace(self, study_id=identity_of(study))

    def checkpoint(self, number: int, value: float | None, result: TrainResult) -> Checkpoint:
        """Return the checkpoint of a trial's result, its test scores yet unknown."""
        return make_checkpoint(self.experiment, result, self.trial(number, value, result.config))

    def held_out(self, number: int, value: float | None, result: TrainResult) -> HeldOut | None:
        """Return what an ensemble needs of a trial's result; None for one without a network."""
        if result.held_out is None:
            return None
        about = {"trial": json.dumps(self.trial(number, value, result.config))}
        return HeldOut(result.held_out.half(), result.networks, about)

    @property
    def ensemble_folder(self) -> Path:
        """Folder of the ensemble's checkpoint."""
        return self.workspace.ensemble(self.definition.name)

    def trial(self, number: int, value: float | None, config: TrainConfig) -> dict[str, Any]:
        """Return what a checkpoint says of the trial it comes from."""
        experiment = self.experiment
        split, settings = asdict(experiment.settings), config.model_dump(mode="json")
        return {
            "study": self.definition.name,
            "storage": without_password(self.url),
            "number": number,
            "objective": self.definition.objective,
            "value": value,
            "study_id": self.study_id,
            "digest": trial_digest(settings, split, experiment.table.hash, value),
        }


def prepare(
    definition: StudyDefinition,
    workspace: Workspace,
    url: str | None,
    device: str,
    *,
    forked: str | None = None,
) -> Session:
    """Read the table, split it and place it on the device; refuses bad input before any trial.

    Where the definition leaves the number of folds open, it is chosen here: a study that exists
    keeps its own, and a new one has those of the study that it is `forked` from.
    """
    chosen = pick_device(device)
    source = definition.table
    table = read_table(_table_path(definition, workspace), source.roles, source.dialect)
    _check_objective(definition, table)
    url = url or definition.storage or workspace.url
    folds, why = _folds(definition, table, url, forked)
    experiment = place_experiment(table, _settings(definition, folds), chosen)
    if why and folds > 1:
        slow = by_time(experiment, definition.budget, definition.workers)
        if slow is not None:
            folds, why = slow
            experiment = place_experiment(table, _settings(definition, folds), chosen)
    settled = definition.split.model_copy(update={"folds": folds})
    return Session(
        definition.model_copy(update={"split": settled}), experiment, workspace, url, why
    )


def _check_objective(definition: StudyDefinition, table: Table) -> None:
    """Refuse an objective of a label that a column of lists does not hold."""
    label, names = definition.objective.removeprefix(LABEL_OBJECTIVE), table.roles.labels
    if definition.objective not in OBJECTIVES and label not in names:
        raise ConfigError(
            f"objective {definition.objective!r} names no label of the table; labels are "
            f"{', '.join(names)}"
        )


def _settings(definition: StudyDefinition, folds: int) -> SplitSettings:
    sizes = definition.split
    return SplitSettings(sizes.val_size, sizes.test_size, definition.seed, folds, sizes.repeats)


def _folds(definition: StudyDefinition, table: Table, url: str, forked: str | None) -> Choice:
    """Return the definition's folds, a stored study's, or a choice with its reason."""
    if definition.split.folds != "auto":
        return Choice(definition.split.folds, "")
    for name in filter(None, (definition.name, forked)):
        if (stored := stored_folds(url, name)) is not None:
            return Choice(stored, "")
    if definition.split.repeats > 1:
        return Choice(AUTO_FOLDS, "")
    return by_positives(table, split_again(table, _settings(definition, 1)))


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
