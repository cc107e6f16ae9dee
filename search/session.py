"""One search from its definition to its checkpoint.

definition -> experiment -> study -> Search -> best/ -> one look at test
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from search.optimize import Progress, Search, make_pruner, make_sampler
from search.records import TrialRecord, complete, read_records
from search.storage import default_url, open_storage, open_study, shown
from studies.definition import StudyDefinition
from studies.examples import write_example
from trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.device import pick_device
from trainer.errors import CheckpointError, ConfigError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    make_checkpoint,
    prepare_experiment,
    with_test_scores,
)
from trainer.fit import TrainResult, fit


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

    def checkpoint(self, number: int, value: float, result: TrainResult) -> Checkpoint:
        """Return the checkpoint of a trial's result, its test scores yet unknown."""
        trial = {
            "study": self.definition.name,
            "storage": shown(self.url),
            "number": number,
            "objective": self.definition.objective,
            "value": value,
        }
        return make_checkpoint(self.experiment, result, trial)


@dataclass(frozen=True)
class Outcome:
    """What a search found. `checkpoint` is None if no trial ended complete."""

    session: Session
    records: list[TrialRecord]
    checkpoint: Checkpoint | None
    seconds: float
    stopped_early: bool

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        ranked = complete(self.records)
        return ranked[0] if ranked else None


def prepare(definition: StudyDefinition, workspace: Path, url: str | None, device: str) -> Session:
    """Read the table, split it and place it on the device; refuses bad input before any trial."""
    chosen = pick_device(device)
    _make_workspace(workspace)
    sizes = definition.split
    experiment = prepare_experiment(
        _table_path(definition, workspace),
        definition.table.roles,
        SplitSettings(sizes.val_size, sizes.test_size, definition.seed),
        chosen,
    )
    return Session(definition, experiment, workspace, url or default_url(workspace))


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


def run_search(
    session: Session,
    *,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Outcome:
    """Search until the budget is spent or `should_stop`; export the best; look at test once."""
    started = time.monotonic()
    torch.set_num_threads(1)
    definition = session.definition
    study = open_study(
        open_storage(session.url),
        definition.name,
        definition.fingerprint(session.experiment.table.hash),
        pruner=make_pruner(definition),
    )
    study.sampler = make_sampler(definition, len(study.get_trials(deepcopy=False)))
    study.set_metric_names([definition.objective])
    timeout = definition.budget.timeout_seconds

    def stop() -> bool:
        return should_stop() or bool(timeout and time.monotonic() - started > timeout)

    search = Search(
        study,
        session.experiment.data,
        definition,
        should_stop=stop,
        on_progress=on_progress,
        on_result=_keep_best(session, study),
    )
    progress = search.run()
    checkpoint = _finished_best(session, study)
    return Outcome(
        session=session,
        records=read_records(study),
        checkpoint=checkpoint,
        seconds=time.monotonic() - started,
        stopped_early=progress.done < progress.total,
    )


def _keep_best(session: Session, study: optuna.Study) -> Callable[[int, float, TrainResult], None]:
    """Return what writes best/ whenever a trial becomes the study's best."""

    def keep(number: int, value: float, result: TrainResult) -> None:
        if study.best_trial.number == number:
            save_checkpoint(session.best_folder, session.checkpoint(number, value, result))

    return keep


def _finished_best(session: Session, study: optuna.Study) -> Checkpoint | None:
    """Return the best trial's checkpoint with its test scores, looking at test only if it has none.

    If best/ is gone or holds another trial, the best one is trained again: same config, same bits.
    """
    ranked = complete(read_records(study))
    if not ranked:
        return None
    best = ranked[0]
    checkpoint = _stored_best(session, best.number)
    if checkpoint is None:
        config = TrainConfig.create(**best.config)
        config = config.model_copy(update={"epochs": best.epochs})
        result = fit(session.experiment.data, [config])[0]
        checkpoint = session.checkpoint(best.number, best.value or 0.0, result)
        save_checkpoint(session.best_folder, checkpoint)
    if checkpoint.record.test is None:
        checkpoint = with_test_scores(checkpoint, session.experiment)
        save_checkpoint(session.best_folder, checkpoint)
    return checkpoint


def _stored_best(session: Session, number: int) -> Checkpoint | None:
    try:
        checkpoint = load_checkpoint(session.best_folder)
    except CheckpointError:
        return None
    expected = {"study": session.definition.name, "number": number}
    found = checkpoint.record.trial or {}
    same_table = checkpoint.record.table["sha256"] == session.experiment.table.hash
    return checkpoint if same_table and expected.items() <= found.items() else None
