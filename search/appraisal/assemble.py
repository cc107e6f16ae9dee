"""Candidates -> the ensemble that is chosen of them, what it gains, and its checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import optuna
import torch
from torch import Tensor

from search.appraisal.candidates import Candidate, find_candidates
from search.appraisal.ensemble import Difference, Ensemble, TestScores, store
from search.session import Session
from search.space.objective import scores_of
from search.store.artifacts import Shelf
from search.store.complaints import tell
from search.store.identity import identity_of, origin_of
from search.verification import fault_of_scores, held_out_of, unlike
from trainer.checkpoint import Checkpoint, Record, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.errors import CheckpointError
from trainer.experiment import finished, make_checkpoint
from trainer.loop.fit import TrainResult
from trainer.loop.validation import choose_thresholds, fit_thresholds, threshold_metric, validate
from trainer.scores.ensemble import (
    PICKS,
    Chosen,
    CrossFittedChoice,
    Gain,
    choose,
    cross_fitted_choice,
    gain,
    weighted_mean,
)
from trainer.scores.evaluation import Evaluation, evaluate, threshold_tensor
from trainer.scores.metrics import count_decisions
from trainer.stack.tensors import CROSS_FITTING_FOLDS

RUNS_AT_ONCE = 8  # in full precision, so that memory stays small
LEAST = 2  # candidates, without which there is nothing to choose


@dataclass(frozen=True)
class Assembled:
    """An ensemble as kept with the study, and its checkpoint as it lies in the workspace."""

    ensemble: Ensemble
    checkpoint: Checkpoint


def make_ensemble(
    session: Session,
    study: optuna.Study,
    shelf: Shelf,
    best: Checkpoint,
    *,
    picks: int = PICKS,
    again: bool = False,
) -> Assembled | None:
    """Choose an ensemble of the best trials, write its checkpoint and keep it with the study.

    `best` is the best trial's checkpoint with its test scores. Trials whose predictions are not
    kept are left out, or trained `again`. None where fewer than two candidates are left. Raises
    CheckpointError if the checkpoint can't be written.
    """
    session = session.of(study)
    pool = find_candidates(session, study, shelf, again=again)
    chosen, held_out, pool = _chosen(session, pool, picks)
    if chosen is None:
        return None
    probabilities = torch.stack([one.probabilities for one in pool])
    fitted = _apart_from_its_rows(session, pool, probabilities, picks)
    labels = session.experiment.data.y_validation.cpu()
    gained = gain(fitted, labels, session.experiment.data.groups)
    members = [pool[run] for run in chosen.runs]
    checkpoint = _checkpoint(session, members, chosen.weights, held_out, fitted)
    checkpoint = _written(session, study, checkpoint)
    ensemble = Ensemble(
        trials=[one.record.number for one in members],
        weights=list(chosen.weights),
        digests=[origin_of(study, one.record).digest for one in members],
        best=int((best.record.trial or {}).get("number", -1)),
        chosen_from=len(pool),
        **_worth(gained),
        test=_test(checkpoint.record),
        best_test=_test(best.record),
    )
    store(study, ensemble)
    return Assembled(ensemble, checkpoint)


def _chosen(
    session: Session, pool: list[Candidate], picks: int
) -> tuple[Chosen | None, Tensor, list[Candidate]]:
    """Choose among candidates; return also the mean of the chosen in full precision, and the pool.

    A chosen one whose networks don't score as the study says leaves the pool, with a line on
    stderr, and it is chosen anew.
    """
    labels = session.experiment.data.y_validation.cpu()
    while len(pool) >= LEAST:
        chosen = choose(torch.stack([one.probabilities for one in pool]), labels, picks=picks)
        members = [pool[run] for run in chosen.runs]
        held_out = [held_out_of(one.networks, session.experiment) for one in members]
        wrong = {
            one.record.number: why
            for one, own in zip(members, held_out, strict=True)
            if (why := fault_of_scores(own, session, one.record))
        }
        if not wrong:
            return chosen, weighted_mean(held_out, chosen.weights), pool
        for number, why in wrong.items():
            tell(f"the kept networks of trial {number} are left out of the ensemble: {why}")
        pool = [one for one in pool if one.record.number not in wrong]
    return None, labels, pool


def _apart_from_its_rows(
    session: Session, pool: Sequence[Candidate], probabilities: Tensor, picks: int
) -> CrossFittedChoice:
    """Choose ensemble and best trial for each cross-fold's rows on the others' rows.

    The best trial is chosen by the study's objective, the thresholds as its trials' are.
    """
    data, objective = session.experiment.data, session.definition.objective
    labels, cross_fold = data.y_validation.cpu(), data.cross_fold.cpu()
    config = TrainConfig.create(**pool[0].record.config)

    def best_of(rows: Tensor) -> int:
        groups = None if data.groups is None else data.groups[rows.numpy()]
        dealt = cross_fold[rows]
        if len(torch.unique(dealt)) == 1:  # of two, which leaves none to fit thresholds on
            dealt = torch.arange(len(rows)) % CROSS_FITTING_FOLDS
        part = replace(data, folds=(), y_validation=labels[rows], cross_fold=dealt, groups=groups)
        values: list[float] = []
        for some in torch.split(probabilities[:, rows], RUNS_AT_ONCE):
            losses = torch.zeros(len(some), dtype=torch.float64)
            found = validate(some.float(), losses, part, config)
            values += scores_of(found, objective, data.labels)
        return int(torch.tensor(values).nan_to_num(nan=-1.0).argmax())

    thresholds = partial(
        choose_thresholds,
        metric=threshold_metric(config, data),
        optimize=config.optimize_thresholds,
    )
    return cross_fitted_choice(probabilities, labels, cross_fold, thresholds, best_of, picks=picks)


def _checkpoint(
    session: Session,
    members: Sequence[Candidate],
    weights: Sequence[float],
    held_out: Tensor,
    fitted: CrossFittedChoice,
) -> Checkpoint:
    """Return the ensemble's checkpoint, its validated scores of rows that did not choose it."""
    experiment, configs = session.experiment, [_config(one) for one in members]
    data, first = experiment.data, members[0]
    chosen = fit_thresholds(held_out, data, configs[0])
    evaluation = _evaluation(session, held_out, chosen.thresholds, fitted)
    made = make_checkpoint(
        experiment,
        TrainResult(
            config=configs[0],
            history=[],
            best_epoch=first.record.best_epoch,
            stopped="epochs",
            scores={
                "macro_f1": evaluation.macro_f1,
                "average_precision": evaluation.macro_average_precision,
                "roc_auc": evaluation.macro_roc_auc,
            },
            networks=tuple(network.parameters for network in first.networks),
            thresholds=chosen.thresholds,
            evaluation=evaluation,
            held_out=held_out,
            shrunk=chosen.shrunk,
        ),
    )
    described = tuple(
        {
            "weight": weight,
            "config": config,
            "best_epoch": one.record.best_epoch,
            "trial": session.trial(one.record.number, one.record.value, config),
        }
        for one, weight, config in zip(members, weights, configs, strict=True)
    )
    folds = zip(*(one.networks for one in members), strict=True)
    whole = replace(
        made,
        record=made.record.model_copy(update={"members": described}),
        networks=tuple(network for of_fold in folds for network in of_fold),
    )
    return finished(whole, experiment, held_out)


def _evaluation(
    session: Session,
    held_out: Tensor,
    thresholds: dict[str, float],
    fitted: CrossFittedChoice,
) -> Evaluation:
    """Score the ensemble by decisions and ranks of rows that did not choose it.

    Brier score and calibration error are those of the mean itself, which these rows chose.
    """
    data = session.experiment.data
    labels, cuts = data.y_validation.cpu(), threshold_tensor(thresholds, data.labels)
    counts = count_decisions(fitted.decisions[:1], labels)
    ranked = evaluate(fitted.ranks[0], labels, cuts, data.labels, counts=counts)
    whole = evaluate(held_out, labels, cuts, data.labels, counts=counts)
    return replace(
        ranked,
        labels={
            name: replace(
                one,
                brier=whole.labels[name].brier,
                calibration_error=whole.labels[name].calibration_error,
            )
            for name, one in ranked.labels.items()
        },
    )


def _config(one: Candidate) -> TrainConfig:
    return TrainConfig.create(**one.record.config)


def _written(session: Session, study: optuna.Study, fresh: Checkpoint) -> Checkpoint:
    """Write a checkpoint to ensemble/, unless the same is there already; return what is there.

    What is neither the same nor an earlier one of this study is told on stderr.
    """
    folder, wrong = session.ensemble_folder, ""
    if folder.exists():
        try:
            kept = load_checkpoint(folder)
            if _members(kept) == _members(fresh):
                wrong = unlike(kept, fresh, session.experiment)
                if not wrong:
                    return kept
            elif {study_id for study_id, *_ in _members(kept)} != {identity_of(study)}:
                wrong = "it is no ensemble of this study"
        except CheckpointError as error:
            wrong = str(error)
    if wrong:
        tell(f"{folder} is made again: {wrong}")
    save_checkpoint(folder, fresh)
    return fresh


def _members(checkpoint: Checkpoint) -> list[tuple[Any, ...]]:
    """Return what tells ensembles apart: each member's study, number, digest and weight."""
    members: list[tuple[dict[str, Any], float]]
    members = [(dict(one["trial"]), one["weight"]) for one in checkpoint.record.members]
    return [
        (trial.get("study_id"), trial["number"], trial.get("digest"), weight)
        for trial, weight in members
    ]


def _worth(gained: Gain) -> dict[str, Any]:
    return {
        "macro_f1": Difference(**asdict(gained.macro_f1)),
        "interval": gained.interval,
        "average_precision": Difference(**asdict(gained.average_precision)),
    }


def _test(record: Record) -> TestScores | None:
    return None if record.test is None else TestScores.of(record.test)
