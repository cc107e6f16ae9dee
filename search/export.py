"""The best trial handed over: its checkpoint in best/, its evidence with the study."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import optuna

from search.evidence.evaluation import evaluate_best
from search.evidence.evidence import Evidence, is_of, other_recipes, store, up_to_date
from search.session import Session
from search.store.artifacts import Shelf
from search.store.complaints import tell
from search.store.identity import identity_of, misfit, origin_of
from search.store.records import TrialRecord, complete, read_records
from search.store.transactions import is_writable, trial_of
from search.verification import fault
from trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.errors import CheckpointError, ConfigError
from trainer.experiment import finished
from trainer.loop.fit import EpochReport, TrainResult, fit


def export_best(session: Session, study: optuna.Study, shelf: Shelf) -> Checkpoint | None:
    """Write the best trial's checkpoint to best/ and keep its evidence; None if none is complete.

    What best/ holds already is kept if its networks score as it and the study say; else it is made
    again, and a line on stderr says why.
    """
    records = read_records(study)
    ranked = complete(records)
    if not ranked:
        return None
    session = session.of(study)
    checkpoint = _exported(session, study, ranked[0])
    if checkpoint is None:
        checkpoint = _tested(session, study, shelf, ranked[0])
        save_checkpoint(session.best_folder, checkpoint)
    if not is_of(up_to_date(study, records), checkpoint):
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
        session = reopen().of(study)
        shelf = Shelf(study, session.shelf_folder)
        checkpoint = _exported(session, study, ranked[0])
        checkpoint = checkpoint or _tested(session, study, shelf, ranked[0])
        evidence = _gathered(session, study, shelf, records, checkpoint)
        store(study, evidence)
    return evidence


def checkpoint_of(
    session: Session,
    study: optuna.Study,
    shelf: Shelf,
    record: TrialRecord,
    replace_kept: Callable[[Checkpoint], object] | None = None,
) -> Checkpoint:
    """Return a trial's checkpoint from the shelf, or trained again: same config, same bits.

    One on the shelf that is not as the study says is not taken, and a line on stderr says why. It
    is replaced there, by `replace_kept` where the study was opened to be read only.
    """
    session, origin = session.of(study), origin_of(study, record)
    what = f"the kept checkpoint of trial {record.number} of {study.study_name}"
    try:
        kept = shelf.fetch(trial_of(study, record.number))
        wrong = "" if kept is None else fault(kept, session, record, origin)
    except CheckpointError as error:
        kept, wrong = None, str(error)
    if kept is not None and not wrong:
        return kept
    if wrong:
        tell(f"{what} is not used: {wrong}; the trial is trained again")
    made = session.checkpoint(record.number, record.value, retrained(session, record))
    if unlike := fault(made, session, record, origin):
        tell(
            f"trial {record.number} of {study.study_name}, trained again, is not what the study "
            f"says: {unlike}; raretune retrain compares all of it"
        )
    elif wrong and is_writable(study):
        shelf.keep(record.number, made)
    elif wrong and replace_kept is not None:
        replace_kept(made)
    return made


def kept_of(
    study: optuna.Study, session: Session, record: TrialRecord
) -> tuple[Checkpoint | None, str]:
    """Return a trial's checkpoint on the shelf, None if it has none; and why it can't be its own.

    Its weights are not looked at.
    """
    try:
        kept = Shelf(study, session.shelf_folder).fetch(trial_of(study, record.number))
    except CheckpointError as error:
        return None, str(error)
    if kept is None:
        return None, ""
    wrong = misfit(kept.record, record.number, origin_of(study, record))
    return kept, f"its kept checkpoint: {wrong}" if wrong else ""


def retrained(
    session: Session,
    record: TrialRecord,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> TrainResult:
    """Train a trial's config alone, for as many epochs as it had; raises ConfigError.

    `on_epoch` hears of each.
    """
    if record.epochs < 1:
        raise ConfigError(f"trial {record.number} never trained ({record.state}); name another")
    config = TrainConfig.create(**record.config)
    shortened = config.model_copy(update={"epochs": min(record.epochs, config.epochs)})

    def go_on(report: EpochReport) -> list[bool]:
        on_epoch(report)
        return [True]

    return replace(fit(session.experiment.data, [shortened], go_on)[0], config=config)


def _tested(session: Session, study: optuna.Study, shelf: Shelf, record: TrialRecord) -> Checkpoint:
    return finished(checkpoint_of(session, study, shelf, record), session.experiment)


def _exported(session: Session, study: optuna.Study, record: TrialRecord) -> Checkpoint | None:
    """Return what best/ holds if it is this trial's own network, with its test scores.

    What else should be there is told on stderr, but for an earlier best trial of the same study.
    """
    if not session.best_folder.exists():
        return None
    try:
        checkpoint = load_checkpoint(session.best_folder)
        if _is_earlier(checkpoint, study, record):
            return None
        wrong = fault(checkpoint, session, record, origin_of(study, record))
        if not wrong and checkpoint.record.test is None and len(session.experiment.test_rows):
            wrong = "it has no test scores"
    except CheckpointError as error:
        wrong = str(error)
    if wrong:
        tell(f"{session.best_folder} is made again: {wrong}")
        return None
    return checkpoint


def _is_earlier(checkpoint: Checkpoint, study: optuna.Study, record: TrialRecord) -> bool:
    """Whether a checkpoint is of a trial of the same study that was the best before."""
    trial: dict[str, Any] = dict(checkpoint.record.trial or {})
    known, number = trial.get("study_id"), trial.get("number")
    return known is not None and known == identity_of(study) and number != record.number


def _gathered(
    session: Session,
    study: optuna.Study,
    shelf: Shelf,
    records: Sequence[TrialRecord],
    checkpoint: Checkpoint,
) -> Evidence:
    rivals = other_recipes(records) if len(session.experiment.test_rows) else {}
    checkpoints = {
        name: checkpoint_of(session, study, shelf, record) for name, record in rivals.items()
    }
    return evaluate_best(session.experiment, checkpoint, checkpoints)
