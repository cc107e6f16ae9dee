"""Is a kept checkpoint what the study says it is? One forward pass over the table tells.

Nothing is believed that can be checked: the networks are asked for the rows that were held out from
them and for the test rows, and their scores are compared with those that stand in the checkpoint
and in the database. Nothing is chosen by that, on test rows least of all.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from search.session import Session
from search.space.objective import value_in
from search.store.identity import Origin, misfit, misfit_of_ensemble
from search.store.records import TrialRecord
from trainer.checkpoint import Checkpoint, Network, Record
from trainer.config import TrainConfig
from trainer.errors import RaretuneError
from trainer.experiment import Experiment, finished
from trainer.loop.validation import Thresholds, fit_thresholds, validate
from trainer.scores.ensemble import weighted_mean
from trainer.stack.model import Shape
from trainer.steps.inference import predict_probabilities

TOLERANCE = 1e-6  # of a score on a CPU
TOLERANCE_OF_GPUS = 1e-2  # whose products differ with what else they do
CURVES_APART = 100  # times as far may calibration curves be apart, which lean on few positives
UNCHECKED = ("epoch", "loss", "validation_loss")  # scores that more than probabilities decide


def fault(checkpoint: Checkpoint, session: Session, record: TrialRecord, origin: Origin) -> str:
    """Say why a checkpoint is not that of a study's trial as it was found; "" if it is.

    Its test scores are compared if it has some. `origin` is what the database says of the trial.
    """
    if found := misfit(checkpoint.record, record.number, origin):
        return found
    try:
        return next(_faults(checkpoint, session, record), "")
    except (RaretuneError, ValueError, RuntimeError) as error:  # columns, folds or sizes of others
        return f"its networks can't be asked ({' '.join(str(error).split())[:200]})"


def fault_of_ensemble(
    checkpoint: Checkpoint,
    session: Session,
    records: Mapping[int, TrialRecord],
    origins: Mapping[int, Origin],
) -> str:
    """Say why an ensemble's checkpoint is not one of a study's trials as they were found.

    "" if it is. Its validated scores need the predictions of all trials that it was chosen from,
    and are not looked at. `records` and `origins` are the complete trials' by their numbers.
    """
    if found := misfit_of_ensemble(checkpoint.record, origins):
        return found
    try:
        return next(_faults_of_ensemble(checkpoint, session, records), "")
    except (RaretuneError, ValueError, RuntimeError) as error:
        return f"its networks can't be asked ({' '.join(str(error).split())[:200]})"


def _faults_of_ensemble(
    checkpoint: Checkpoint, session: Session, records: Mapping[int, TrialRecord]
) -> Iterator[str]:
    experiment, kept = session.experiment, checkpoint.record
    yield from _unlike_the_table(checkpoint, experiment)
    held_out = []
    for m, member in enumerate(kept.members):
        networks, number = [of_fold[m] for of_fold in checkpoint.folds], member["trial"]["number"]
        held_out.append(held_out_of(networks, experiment))
        if wrong := fault_of_scores(held_out[-1], session, records[number]):
            yield f"trial {number}: {wrong}"
    mean, tolerance = weighted_mean(held_out, checkpoint.weights), _tolerance(experiment)
    chosen = fit_thresholds(mean, experiment.data, kept.config)
    yield from _apart("its threshold of", kept.thresholds, chosen.thresholds, (), tolerance)
    fresh = finished(checkpoint, experiment, mean).record
    yield from _apart("its doubt of", kept.doubts, fresh.doubts, (), tolerance)
    yield from _calibration_apart(kept, fresh, tolerance)
    said, found = dict(kept.test or {}), dict(fresh.test or {})
    yield from _apart("its test score", said, found, ("calibration",), tolerance)


def unlike(kept: Checkpoint, fresh: Checkpoint, experiment: Experiment) -> str:
    """Say in what an ensemble's checkpoint differs from one made anew of the same members."""
    said, found = (_without_calibration(one.record) for one in (kept, fresh))
    tolerance = _tolerance(experiment)
    for apart in _apart("its", said, found, ("members", "versions"), tolerance):
        return apart
    for apart in _calibration_apart(kept.record, fresh.record, tolerance):
        return apart
    for one, other in zip(kept.networks, fresh.networks, strict=True):
        for name, tensor in other.parameters.items():
            if not torch.equal(one.parameters[name], tensor):
                return "its networks are not those of its trials"
    return ""


def fault_of_scores(held_out: Tensor, session: Session, record: TrialRecord) -> str:
    """Say why probabilities (V, L) of the pool are not those of a study's trial; "" if they are."""
    config, experiment = TrainConfig.create(**record.config), session.experiment
    scored = _scores(held_out, config, experiment)
    apart = _apart("its score", record.scores, scored, UNCHECKED, _tolerance(experiment))
    return next(apart, "")


def _tolerance(experiment: Experiment) -> float:
    return TOLERANCE if experiment.data.device.type == "cpu" else TOLERANCE_OF_GPUS


def _faults(checkpoint: Checkpoint, session: Session, record: TrialRecord) -> Iterator[str]:
    experiment, kept = session.experiment, checkpoint.record
    tolerance = _tolerance(experiment)
    yield from _unlike_the_study(checkpoint, session, record)
    held_out = held_out_of(checkpoint.networks, experiment)
    scored = _scores(held_out, kept.config, experiment)
    yield from _apart("its score", record.scores, scored, UNCHECKED, tolerance)
    chosen = fit_thresholds(held_out, experiment.data, kept.config)
    yield from _apart("its threshold of", kept.thresholds, chosen.thresholds, (), tolerance)
    fresh = finished(
        replace(checkpoint, record=_rescored(checkpoint, chosen)), experiment, held_out
    )
    yield from _calibration_apart(kept, fresh.record, tolerance)
    later = () if "doubts" in kept.validation else ("doubts",)
    yield from _apart(
        "its validated",
        dict(kept.validation),
        dict(fresh.record.validation),
        ("calibration", *later),
        tolerance,
    )
    if kept.test is not None:
        test = dict(fresh.record.test or {})
        yield from _apart("its test score", dict(kept.test), test, ("calibration",), tolerance)


def _calibration_apart(kept: Record, fresh: Record, tolerance: float) -> Iterator[str]:
    """Yield where curves, and what they are worth, differ; earlier versions had neither."""
    said, found = _calibration(kept), _calibration(fresh)
    if kept.test is None:
        found.pop("test", None)
    if kept.calibration is not None:
        yield from _apart("its calibration", said, found, (), CURVES_APART * tolerance)


def _without_calibration(record: Record) -> dict[str, Any]:
    content = record.model_dump(exclude={"calibration"})
    for part in ("validation", "test"):
        (content[part] or {}).pop("calibration", None)
    return content


def _calibration(record: Record) -> dict[str, Any]:
    worth = {"validated": record.validation.get("calibration")}
    if record.test is not None:
        worth["test"] = record.test.get("calibration")
    return {"": record.calibration, **worth}


def _rescored(checkpoint: Checkpoint, chosen: Thresholds) -> Record:
    kept = checkpoint.record
    validation = {
        "scores": kept.validation.get("scores"),
        "shrunk_thresholds": list(chosen.shrunk),
        **chosen.evaluation.to_json(),
    }
    return kept.model_copy(update={"validation": validation})


def _unlike_the_study(
    checkpoint: Checkpoint, session: Session, record: TrialRecord
) -> Iterator[str]:
    """Yield where the checkpoint's own account of the training is not the study's."""
    kept, objective = checkpoint.record, session.definition.objective
    yield from _unlike_the_table(checkpoint, session.experiment)
    if kept.best_epoch != record.best_epoch:
        yield _told("its best epoch", record.best_epoch, kept.best_epoch)
    if not 1 <= kept.best_epoch <= len(checkpoint.history):
        yield "its history lacks its best epoch"
    own = dict(kept.validation.get("scores", {}))
    yield from _apart("its score", record.scores, own, (), 0.0)
    best = checkpoint.history[kept.best_epoch - 1]
    yield from _apart("its value", {"": record.value}, {"": value_in(best, objective)}, (), 0.0)
    curve = {int(row["epoch"]): value_in(row, objective) for row in checkpoint.history}
    yield from _apart("its value in epoch", record.curve, curve, (), 0.0)


def _unlike_the_table(checkpoint: Checkpoint, experiment: Experiment) -> Iterator[str]:
    """Yield where the checkpoint's labels and rows are not the table's."""
    kept = checkpoint.record
    if kept.labels != experiment.table.roles.labels:
        yield "its labels are others, or in another order"
    yield from _apart(
        "its number of rows", dict(kept.split["rows"]), experiment.row_counts, (), 0.0
    )
    if checkpoint.rows is not None and not checkpoint.rows.is_same(experiment.known_rows):
        yield "its digests of rows are not those of the table's rows"


def held_out_of(networks: Sequence[Network], experiment: Experiment) -> Tensor:
    """Return the pool's probabilities (V, L) by a network for each fold, as it was in training.

    The rows go through the networks' own features.
    """
    device, columns = experiment.data.device, experiment.table.columns
    of_folds = []
    for network, fold in zip(networks, experiment.folds, strict=True):
        features = network.features.transform(columns.iloc[fold.validation])
        x = Shape.pad_inputs(torch.from_numpy(features)).to(device)
        of_folds.append(predict_probabilities(network.flat().to(device), network.shape, x)[0])
    return experiment.data.pool(of_folds).cpu()


def _scores(held_out: Tensor, config: TrainConfig, experiment: Experiment) -> dict[str, float]:
    data = experiment.data
    losses = torch.zeros(1, dtype=torch.float64, device=data.device)
    found = validate(held_out[None].to(data.device), losses, data, config)
    return {name: float(scores[0]) for name, scores in found.macro.items()}


def _apart(
    what: str,
    said: Mapping[Any, Any],
    found: Mapping[Any, Any],
    unchecked: tuple[str, ...],
    tolerance: float,
) -> Iterator[str]:
    """Yield each leaf in which two nested records differ, of all that either has."""
    before, now = dict(_leaves(said)), dict(_leaves(found))
    for key in before.keys() | now.keys():
        if key[0] in unchecked or _alike(before.get(key), now.get(key), tolerance):
            continue
        name = " ".join(str(part) for part in key if part != "")
        yield _told(f"{what} {name}".rstrip(), before.get(key), now.get(key))


def _leaves(record: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(record, Mapping):
        for key, value in record.items():
            yield from _leaves(value, (*at, key))
    elif isinstance(record, list | tuple):
        for i, value in enumerate(record):
            yield from _leaves(value, (*at, i))
    else:
        yield at, record


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two leaves are the same; what is undefined is None or nan, or left out."""
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
    if _is_undefined(one) or _is_undefined(other):
        return _is_undefined(one) and _is_undefined(other)
    same: bool = one == other
    return same


def _is_undefined(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _told(what: str, said: Any, found: Any) -> str:
    shown = [
        f"{v:.6g}" if _is_number(v) else "nothing" if v is None else str(v) for v in (said, found)
    ]
    return f"{what} is said to be {shown[0]}, and is {shown[1]}"
