"""Baselines held against what a search found: same folds, thresholds, rows and resamples.

session -> predictions, fitted or kept -> scores and differences -> Comparison

Predictions are kept in WORKSPACE/STUDY/baselines/, so that a search which goes on fits none again.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from search.appraisal.baselines import Baseline, Comparison, Difference, Found, Scores
from search.appraisal.estimators import ESTIMATORS, Estimator
from search.appraisal.fitting import Predictions, fit_baselines
from search.appraisal.interval import bounds
from search.session import Session
from search.store.identity import digest_of
from trainer.checkpoint import Checkpoint
from trainer.config import TrainConfig
from trainer.experiment import Experiment, held_out_probabilities
from trainer.loop.validation import cross_fitted_decisions, fit_thresholds
from trainer.predict import predict_frame
from trainer.scores.bootstrap import Compared, compare_macro_f1
from trainer.scores.evaluation import Evaluation, evaluate, threshold_tensor
from trainer.writing import written_whole


@dataclass(frozen=True)
class Find:
    """What a search found: a checkpoint, and its validated macro-F1 as it is shown.

    `validated` is corrected for the checkpoint having been chosen among many; where that is not
    known, it is the checkpoint's own.
    """

    checkpoint: Checkpoint
    validated: float


def compare(
    session: Session,
    finds: Mapping[str, Find],
    *,
    estimators: Sequence[Estimator] = ESTIMATORS,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Fit the baselines that are installed and hold them against each find, by its name.

    Thresholds are chosen as the first find's config says. Raises StoppedError where `should_stop`
    says so before all are fitted.
    """
    experiment, definition = session.experiment, session.definition
    folder = session.workspace.baselines(definition.name)
    predicted: dict[str, Predictions | str] = {}
    missing = []
    for one in estimators:
        if one.installed:
            kept = _kept(folder, _identity(session, one), one.name)
            missing += [] if kept else [one]
            predicted[one.name] = kept or "it was not fitted"
    if missing:
        predicted |= fit_baselines(
            experiment,
            missing,
            seed=definition.seed,
            workers=definition.workers,
            should_stop=should_stop,
            on_progress=on_progress,
        )
    for one in missing:
        if not isinstance(found := predicted[one.name], str):
            _keep(folder, _identity(session, one), one.name, found)
    return compared(experiment, finds, predicted)


def compared(
    experiment: Experiment, finds: Mapping[str, Find], predicted: Mapping[str, Predictions | str]
) -> Comparison:
    """Score predictions, and what was found, on the pool and on the test rows.

    Of a baseline that failed, `predicted` has the reason.
    """
    config = next(iter(finds.values())).checkpoint.record.config
    fitted = {name: one for name, one in predicted.items() if not isinstance(one, str)}
    scored = {name: _Scored.of(one, experiment, config) for name, one in fitted.items()}
    against = {name: _against(experiment, find, scored) for name, find in finds.items()}
    baselines = {
        name: Baseline(failed=one)
        if isinstance(one, str)
        else _baseline(one, scored[name], {find: of[name] for find, of in against.items()})
        for name, one in predicted.items()
    }
    found = {name: _found(find) for name, find in finds.items()}
    return Comparison(found=found, baselines=baselines)


@dataclass(frozen=True)
class _Scored:
    """A baseline's scores and decisions, of the pool (V, L) and of the test rows (T, L)."""

    validation: Evaluation
    decisions: Tensor
    test: Evaluation | None
    test_decisions: Tensor

    @classmethod
    def of(cls, found: Predictions, experiment: Experiment, config: TrainConfig) -> "_Scored":
        """Choose thresholds on the pool as a trial's are, and look at the test rows with them."""
        data, table, rows = experiment.data, experiment.table, experiment.test_rows
        chosen = fit_thresholds(found.held_out, data, config)
        cuts = threshold_tensor(chosen.thresholds, data.labels)
        labels = torch.from_numpy(table.labels[rows])
        return cls(
            validation=chosen.evaluation,
            decisions=cross_fitted_decisions(found.held_out, data, config),
            test=evaluate(found.test, labels, cuts, data.labels) if len(rows) else None,
            test_decisions=found.test >= cuts,
        )


class Pair(NamedTuple):
    """A find held against a baseline on the pool and on the test rows.

    `flattery` is how far the find's macro-F1 on the pool lies above its validated one.
    """

    pool: Compared
    test: Compared | None
    flattery: float


def _against(experiment: Experiment, find: Find, scored: Mapping[str, _Scored]) -> dict[str, Pair]:
    """Compare a find with each baseline by the paired bootstrap."""
    checkpoint, data, table = find.checkpoint, experiment.data, experiment.table
    record, rows = checkpoint.record, experiment.test_rows
    held_out = held_out_probabilities(checkpoint, experiment)
    own = cross_fitted_decisions(held_out, data, record.config)
    decisions = torch.stack([own, *(one.decisions for one in scored.values())])
    of_pool = compare_macro_f1(decisions, data.y_validation.cpu(), data.groups)
    of_test: list[Compared | None] = [None] * len(of_pool)
    if len(rows):
        cuts = threshold_tensor(record.thresholds, record.labels)
        own = predict_frame(checkpoint, table.columns.iloc[rows]) >= cuts
        decisions = torch.stack([own, *(one.test_decisions for one in scored.values())])
        groups = None if table.groups is None else table.groups[rows]
        of_test = [*compare_macro_f1(decisions, torch.from_numpy(table.labels[rows]), groups)]
    flattery = of_pool[0].macro_f1 - find.validated
    pairs = zip(of_pool[1:], of_test[1:], strict=True)
    return {name: Pair(*pair, flattery) for name, pair in zip(scored, pairs, strict=True)}


def _scores(evaluation: Evaluation, compared: Compared) -> Scores:
    errors = [label.calibration_error for label in evaluation.labels.values()]
    return Scores(
        macro_f1=evaluation.macro_f1,
        interval=bounds(compared.interval),
        macro_average_precision=evaluation.macro_average_precision,
        macro_roc_auc=_or_none(evaluation.macro_roc_auc),
        calibration_error=sum(errors) / len(errors),
    )


def _baseline(found: Predictions, scored: _Scored, against: Mapping[str, Pair]) -> Baseline:
    """Return a baseline's scores; `against` compares each find with it."""
    first = next(iter(against.values()))
    test = None
    if scored.test is not None and first.test is not None:
        test = _scores(scored.test, first.test)
    return Baseline(
        validation=_scores(scored.validation, first.pool),
        test=test,
        difference={name: _difference(pair) for name, pair in against.items()},
        unlearnable=list(found.unlearnable),
        seconds=found.seconds,
    )


def _difference(pair: Pair) -> Difference:
    """Turn find - baseline round, and take off what the find's score flatters itself by."""
    (low, high), test = pair.pool.difference_interval, pair.test
    return Difference(
        validation=pair.flattery - pair.pool.difference,
        validation_interval=bounds((pair.flattery - high, pair.flattery - low)),
        test=None if test is None else -test.difference,
        test_interval=(None, None)
        if test is None
        else bounds((-test.difference_interval[1], -test.difference_interval[0])),
    )


def _found(find: Find) -> Found:
    test = find.checkpoint.record.test
    if test is None:
        return Found(validated=find.validated, test=None, test_ap=None)
    scores = {"test": test["macro_f1"], "test_ap": test["macro_average_precision"]}
    return Found(validated=find.validated, **scores)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


# Predictions on disk


def _identity(session: Session, estimator: Estimator) -> str:
    """Return the SHA-256 of all that decides a baseline's predictions."""
    source, package = session.definition.table, estimator.package or "scikit-learn"
    whole = {
        "table": session.experiment.table.hash,
        "columns": source.model_dump(mode="json", exclude={"csv", "example"}),
        "split": asdict(session.experiment.settings),
        "seed": session.definition.seed,
        "model": f"{estimator.make(session.definition.seed).get_params()}",
        "package": f"{package} {version(package)}",
        "raretune": version("raretune"),
    }
    return digest_of(whole)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '_')}.safetensors"


def _keep(folder: Path, identity: str, name: str, found: Predictions) -> None:
    about = {
        "identity": identity,
        "unlearnable": json.dumps(found.unlearnable),
        "seconds": f"{found.seconds}",
    }
    tensors = {"held_out": found.held_out.contiguous(), "test": found.test.contiguous()}
    with written_whole(_file(folder, name), "--workspace") as file:
        file.write(save(tensors, about))


def _kept(folder: Path, identity: str, name: str) -> Predictions | None:
    """Return what is kept of a baseline; None if that is of other rows or settings, or broken."""
    try:
        with safe_open(_file(folder, name), "pt") as file:
            about = file.metadata()
            if about["identity"] != identity:
                return None
            return Predictions(
                held_out=file.get_tensor("held_out"),
                test=file.get_tensor("test"),
                unlearnable=tuple(json.loads(about["unlearnable"])),
                seconds=float(about["seconds"]),
            )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
