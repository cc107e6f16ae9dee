"""One search from its definition to its checkpoint: the table, the study, one look at test.

definition -> table -> split -> tensors -> study -> Search -> best/ -> test scores
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from search.optimize import Progress, Search, make_pruner, make_sampler
from search.records import TrialRecord, complete, read_records
from search.storage import default_url, open_storage, open_study, shown
from studies.definition import StudyDefinition
from studies.examples import write_example
from trainer.checkpoint import (
    Checkpoint,
    Record,
    library_versions,
    load_checkpoint,
    save_checkpoint,
)
from trainer.config import TrainConfig
from trainer.data import TrainingData, make_data
from trainer.device import pick_device
from trainer.errors import CheckpointError, ConfigError
from trainer.evaluation import bootstrap, evaluate, threshold_tensor
from trainer.features import Features
from trainer.fit import TrainResult, fit
from trainer.predict import predict_frame
from trainer.split import Split, split_rows
from trainer.table import Table, read_table


@dataclass(frozen=True)
class Prepared:
    """A definition's table, split and tensors, and where its results go."""

    definition: StudyDefinition
    table: Table
    split: Split
    features: Features
    data: TrainingData
    workspace: Path
    url: str

    @property
    def best_folder(self) -> Path:
        """Folder of the best trial's checkpoint."""
        return self.workspace / self.definition.name / "best"


@dataclass(frozen=True)
class Outcome:
    """What a search found. `checkpoint` is None if no trial ended complete."""

    prepared: Prepared
    records: list[TrialRecord]
    checkpoint: Checkpoint | None
    seconds: float
    stopped_early: bool

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        ranked = complete(self.records)
        return ranked[0] if ranked else None


def prepare(definition: StudyDefinition, workspace: Path, url: str | None, device: str) -> Prepared:
    """Read the table, split it and place it on the device; refuses bad input before any trial."""
    chosen = pick_device(device)
    make_workspace(workspace)
    table = read_table(_table_path(definition, workspace), definition.table.roles)
    split = split_rows(
        table.labels,
        table.groups,
        label_names=table.roles.labels,
        val_size=definition.split.val_size,
        test_size=definition.split.test_size,
        seed=definition.seed,
    )
    features, data = make_data(table, split, device=chosen)
    url = url or default_url(workspace)
    return Prepared(definition, table, split, features, data, workspace, url)


def make_workspace(workspace: Path) -> None:
    """Create the folder for results; raises ConfigError if it can't be written."""
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
    prepared: Prepared,
    *,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Outcome:
    """Search until the budget is spent or `should_stop`; export the best; look at test once."""
    started = time.monotonic()
    torch.set_num_threads(1)
    definition = prepared.definition
    storage = open_storage(prepared.url)
    study = open_study(
        storage,
        definition.name,
        definition.fingerprint(prepared.table.hash),
        pruner=make_pruner(definition),
    )
    study.sampler = make_sampler(definition, len(study.get_trials(deepcopy=False)))
    study.set_metric_names([definition.objective])
    timeout = definition.budget.timeout_seconds

    def stop() -> bool:
        return should_stop() or bool(timeout and time.monotonic() - started > timeout)

    search = Search(
        study,
        prepared.data,
        definition,
        should_stop=stop,
        on_progress=on_progress,
        on_result=_keep_best(prepared, study),
    )
    progress = search.run()
    checkpoint = _finished_best(prepared, study)
    return Outcome(
        prepared=prepared,
        records=read_records(study),
        checkpoint=checkpoint,
        seconds=time.monotonic() - started,
        stopped_early=progress.done < progress.total,
    )


def _keep_best(
    prepared: Prepared, study: optuna.Study
) -> Callable[[int, float, TrainResult], None]:
    """Return what writes best/ whenever a trial becomes the study's best."""

    def keep(number: int, value: float, result: TrainResult) -> None:
        if study.best_trial.number == number:
            save_checkpoint(prepared.best_folder, make_checkpoint(prepared, number, value, result))

    return keep


def _finished_best(prepared: Prepared, study: optuna.Study) -> Checkpoint | None:
    """Return the best trial's checkpoint with its test scores, looking at test only if it has none.

    If best/ is gone or holds another trial, the best one is trained again: same config, same bits.
    """
    ranked = complete(read_records(study))
    if not ranked:
        return None
    best = ranked[0]
    checkpoint = _stored_best(prepared, best.number)
    if checkpoint is None:
        config = TrainConfig.create(**best.config)
        result = fit(prepared.data, [config.model_copy(update={"epochs": best.epochs})])[0]
        checkpoint = make_checkpoint(prepared, best.number, best.value or 0.0, result)
        save_checkpoint(prepared.best_folder, checkpoint)
    if checkpoint.record.test is None and len(prepared.split.test):
        record = checkpoint.record.model_copy(update={"test": look_at_test(checkpoint, prepared)})
        checkpoint = replace(checkpoint, record=record)
        save_checkpoint(prepared.best_folder, checkpoint)
    return checkpoint


def _stored_best(prepared: Prepared, number: int) -> Checkpoint | None:
    try:
        checkpoint = load_checkpoint(prepared.best_folder)
    except CheckpointError:
        return None
    expected = {"study": prepared.definition.name, "number": number}
    found = checkpoint.record.trial or {}
    same_table = checkpoint.record.table["sha256"] == prepared.table.hash
    return checkpoint if same_table and expected.items() <= found.items() else None


def look_at_test(checkpoint: Checkpoint, prepared: Prepared) -> dict[str, Any]:
    """Score the test rows with the thresholds chosen on validation, with 95 % intervals."""
    rows = prepared.split.test
    table = prepared.table
    probabilities = predict_frame(checkpoint, table.columns.iloc[rows])
    labels = torch.from_numpy(table.labels[rows])
    cuts = threshold_tensor(checkpoint.record.thresholds, checkpoint.record.labels)
    names = checkpoint.record.labels
    scores = evaluate(probabilities, labels, cuts, names)
    groups = None if table.groups is None else table.groups[rows]
    intervals = bootstrap(probabilities, labels, cuts, names, groups)
    return {**scores.to_json(), "intervals": intervals.to_json()}


def make_checkpoint(
    prepared: Prepared, number: int, value: float, result: TrainResult
) -> Checkpoint:
    """Return the checkpoint of a trial's result, its test scores yet unknown."""
    if result.parameters is None or result.thresholds is None or result.evaluation is None:
        raise CheckpointError(f"trial {number} has no epoch with finite scores; nothing to keep")
    definition, table, split = prepared.definition, prepared.table, prepared.split
    sizes = {
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
    }
    record = Record(
        config=result.config,
        labels=table.roles.labels,
        roles=table.roles,
        features=prepared.features.to_state()[1],
        thresholds=result.thresholds,
        best_epoch=result.best_epoch,
        validation={
            "scores": result.scores,
            "shrunk_thresholds": list(result.shrunk),
            **result.evaluation.to_json(),
        },
        test=None,
        split={"seed": definition.seed, **definition.split.model_dump(), "rows": sizes},
        table={"file": table.path.name, "rows": len(table.labels), "sha256": table.hash},
        trial={
            "study": definition.name,
            "storage": shown(prepared.url),
            "number": number,
            "objective": definition.objective,
            "value": value,
        },
        versions=library_versions(),
    )
    return Checkpoint(record, prepared.features, result.parameters, result.history)
