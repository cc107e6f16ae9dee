"""Is a kept checkpoint what the study says it is? One forward pass over the table tells.

Nothing is believed that can be checked: the networks are asked for the rows that were held out from
them and for the test rows, and their scores are compared with those that stand in the checkpoint
and in the database. Nothing is chosen by that, on test rows least of all.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from search.session import Session
from search.space.objective import value_in
from search.store.identity import Origin, misfit
from search.store.records import TrialRecord
from trainer.checkpoint import Checkpoint, Record
from trainer.errors import RaretuneError
from trainer.experiment import Experiment, finished
from trainer.loop.validation import Thresholds, fit_thresholds, validate
from trainer.stack.model import Shape
from trainer.steps.inference import predict_probabilities

TOLERANCE = 1e-6  # of a score on a CPU
TOLERANCE_OF_GPUS = 1e-2  # whose products differ with what else they do
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


def _faults(checkpoint: Checkpoint, session: Session, record: TrialRecord) -> Iterator[str]:
    experiment, kept = session.experiment, checkpoint.record
    on_gpu = experiment.data.device.type != "cpu"
    tolerance = TOLERANCE_OF_GPUS if on_gpu else TOLERANCE
    yield from _unlike_the_study(checkpoint, session, record)
    held_out = _held_out(checkpoint, experiment)
    scored = _scores(held_out, checkpoint, experiment)
    yield from _apart("its score", record.scores, scored, UNCHECKED, tolerance)
    chosen = fit_thresholds(held_out, experiment.data, kept.config)
    yield from _apart("its threshold of", kept.thresholds, chosen.thresholds, (), tolerance)
    fresh = finished(
        replace(checkpoint, record=_rescored(checkpoint, chosen)), experiment, held_out
    )
    later = () if "doubts" in kept.validation else ("doubts",)
    yield from _apart(
        "its validated", dict(kept.validation), dict(fresh.record.validation), later, tolerance
    )
    if kept.test is not None:
        yield from _apart(
            "its test score", dict(kept.test), dict(fresh.record.test or {}), (), tolerance
        )


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
    kept, experiment = checkpoint.record, session.experiment
    objective = session.definition.objective
    if kept.labels != experiment.table.roles.labels:
        yield "its labels are others, or in another order"
    yield from _apart(
        "its number of rows", dict(kept.split["rows"]), experiment.row_counts, (), 0.0
    )
    if checkpoint.rows is not None and not checkpoint.rows.is_same(experiment.known_rows):
        yield "its digests of rows are not those of the table's rows"
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


def _held_out(checkpoint: Checkpoint, experiment: Experiment) -> Tensor:
    """Return the pool's probabilities (V, L), by the same steps as when the networks were trained.

    The rows go through the checkpoint's own features.
    """
    device, columns = experiment.data.device, experiment.table.columns
    of_folds = []
    for network, fold in zip(checkpoint.networks, experiment.folds, strict=True):
        features = network.features.transform(columns.iloc[fold.validation])
        x = Shape.pad_inputs(torch.from_numpy(features)).to(device)
        of_folds.append(predict_probabilities(network.flat().to(device), network.shape, x)[0])
    return experiment.data.pool(of_folds).cpu()


def _scores(held_out: Tensor, checkpoint: Checkpoint, experiment: Experiment) -> dict[str, float]:
    data = experiment.data
    losses = torch.zeros(1, dtype=torch.float64, device=data.device)
    found = validate(held_out[None].to(data.device), losses, data, checkpoint.record.config)
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
