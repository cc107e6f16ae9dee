"""A definition with its table, and a search of it in this process.

definition -> experiment -> study -> Search -> shelf
"""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from search.artifacts import Shelf
from search.optimize import Search, enqueue_recipes
from search.progress import Progress
from search.records import TrialRecord, complete
from search.stale import reap
from search.storage import (
    FINGERPRINT,
    default_url,
    load_study,
    open_storage,
    open_study,
    shown,
)
from search.strategy import make_pruner, make_sampler
from studies.definition import StudyDefinition
from studies.examples import write_example
from trainer.checkpoint import Checkpoint, library_versions
from trainer.compiler import build
from trainer.device import pick_device
from trainer.errors import ConfigError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    make_checkpoint,
    prepare_experiment,
)
from trainer.fit import TrainResult

DEFINITION = "raretune_definition"


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


@dataclass(frozen=True)
class Outcome:
    """What a search found. `checkpoint` is None if no trial ended complete.

    `stopped` says why the search gave up, if it did.
    """

    session: Session
    records: list[TrialRecord]
    checkpoint: Checkpoint | None
    seconds: float
    stopped_early: bool
    stopped: str

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        ranked = complete(self.records)
        return ranked[0] if ranked else None


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


def open_session_study(session: Session, worker: int = 0) -> optuna.Study:
    """Create or continue the session's study; each worker draws from a stream of its own."""
    definition = session.definition
    study = open_study(
        open_storage(session.url),
        definition.name,
        definition.fingerprint(session.experiment.table.hash),
        pruner=make_pruner(definition),
    )
    study.sampler = make_sampler(definition, len(study.get_trials(deepcopy=False)) + 7919 * worker)
    return study


def search_study(
    session: Session,
    *,
    worker: int = 0,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Search the session's study in this process, keeping the best trials' checkpoints."""
    study = open_session_study(session, worker)
    shelf = Shelf(study, session.shelf_folder)

    def keep(number: int, value: float, result: TrainResult) -> None:
        shelf.keep(number, session.checkpoint(number, value, result))

    return Search(
        study,
        session.experiment.data,
        session.definition,
        environment={**environment(), **_data(session)},
        should_stop=should_stop,
        on_progress=on_progress,
        on_result=keep,
    ).run()


def _data(session: Session) -> dict[str, str]:
    """Return which table and which split of it a trial trained on."""
    split = ", ".join(
        f"{key} {value}" for key, value in asdict(session.experiment.settings).items()
    )
    return {"table": session.experiment.table.hash, "split": split}


def begin(session: Session) -> optuna.Study:
    """Create or continue the session's study before any worker does; clean up after dead ones."""
    study = open_session_study(session)
    study.set_metric_names([session.definition.objective])
    study.set_user_attr(DEFINITION, _stored(session.definition))
    reap(study)
    enqueue_recipes(study, session.definition)
    return study


def _stored(definition: StudyDefinition) -> dict[str, Any]:
    """Return a definition as JSON types, its table found from any folder and no URL in it."""
    table = definition.table
    if table.csv is not None:
        table = table.model_copy(update={"csv": table.csv.resolve()})
    kept = definition.model_copy(update={"table": table, "storage": ""})
    return kept.model_dump(mode="json")
