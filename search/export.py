"""The best trial handed over: its checkpoint in best/, its evidence with the study."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import optuna

from search.evidence.evidence import Evidence, baselines, store, up_to_date
from search.evidence.gather import gather
from search.session import Session
from search.store.artifacts import Shelf
from search.store.records import TrialRecord, complete, read_records
from trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.errors import CheckpointError, ConfigError
from trainer.experiment import finished
from trainer.loop.fit import TrainResult, fit


def export_best(session: Session, study: optuna.Study, shelf: Shelf) -> Checkpoint | None:
    """Write the best trial's checkpoint to best/ and keep its evidence; None if none is complete.

    Test rows are looked at for a best trial that is new: where best/ does not hold its scores
    already, or the study not its evidence.
    """
    records = read_records(study)
    ranked = complete(records)
    if not ranked:
        return None
    checkpoint = _exported(session, ranked[0].number)
    if checkpoint is None:
        checkpoint = _tested(session, study, shelf, ranked[0])
        save_checkpoint(session.best_folder, checkpoint)
    if up_to_date(study, records) is None:
        store(study, _gathered(session, study, shelf, records, checkpoint))
    return checkpoint


def current_evidence(study: optuna.Study, reopen: Callable[[], Session]) -> Evidence | None:
    """Return the best trial's evidence; None if no trial is complete.

    What the study holds will do, and its table is not needed. Where that is of another trial, as
    while a search is running, `reopen` is called, and the evidence is gathered and kept.
    """
    records = read_records(study)
    ranked = complete(records)
    if not ranked:
        return None
    evidence = up_to_date(study, records)
    if evidence is None:
        session = reopen()
        shelf = Shelf(study, session.shelf_folder)
        checkpoint = _exported(session, ranked[0].number)
        checkpoint = checkpoint or _tested(session, study, shelf, ranked[0])
        evidence = _gathered(session, study, shelf, records, checkpoint)
        store(study, evidence)
    return evidence


def checkpoint_of(
    session: Session, study: optuna.Study, shelf: Shelf, record: TrialRecord
) -> Checkpoint:
    """Return a trial's checkpoint from the shelf, or trained again: same config, same bits."""
    kept = shelf.fetch(study.get_trials(deepcopy=False)[record.number])
    if kept is not None:
        return kept
    return session.checkpoint(record.number, record.value, train_again(session, record))


def train_again(session: Session, record: TrialRecord) -> TrainResult:
    """Train a trial's config alone, for as many epochs as it had; raises ConfigError."""
    if not record.epochs:
        raise ConfigError(f"trial {record.number} never trained ({record.state}); name another")
    config = TrainConfig.create(**record.config)
    shortened = config.model_copy(update={"epochs": record.epochs})
    return replace(fit(session.experiment.data, [shortened])[0], config=config)


def _tested(session: Session, study: optuna.Study, shelf: Shelf, record: TrialRecord) -> Checkpoint:
    return finished(checkpoint_of(session, study, shelf, record), session.experiment)


def _exported(session: Session, number: int) -> Checkpoint | None:
    """Return what best/ holds if it is this trial's own network, with its test scores."""
    try:
        checkpoint = load_checkpoint(session.best_folder)
    except CheckpointError:
        return None
    record, experiment = checkpoint.record, session.experiment
    found = record.trial or {}
    same_trial = {"study": session.definition.name, "number": number}.items() <= found.items()
    same_table = record.table["sha256"] == experiment.table.hash
    tested = record.test is not None or not len(experiment.test_rows)
    return checkpoint if same_trial and same_table and tested and "refit" not in found else None


def _gathered(
    session: Session,
    study: optuna.Study,
    shelf: Shelf,
    records: Sequence[TrialRecord],
    checkpoint: Checkpoint,
) -> Evidence:
    rivals = baselines(records) if len(session.experiment.test_rows) else {}
    checkpoints = {
        name: checkpoint_of(session, study, shelf, record) for name, record in rivals.items()
    }
    return gather(session.experiment, checkpoint, checkpoints)
