"""A result held against all that a study has stored of its trial: the union of both, bit for bit.

What stands on one side only is a difference, but for what a study never had: that is named as
unknown.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from search.space.objective import value_in, value_of
from search.store.records import TrialRecord
from search.waves.wave import per_label
from trainer.checkpoint import Checkpoint
from trainer.loop.fit import TrainResult


class Compared(NamedTuple):
    """What differs, each as "name before -> after"; and names of what nothing is stored of."""

    apart: list[str]
    unknown: list[str]


Resampled = Mapping[str, Sequence[float]]


def compare(
    record: TrialRecord, result: TrainResult, objective: str, resampled: Sequence[Resampled]
) -> Compared:
    """Hold a trial's value, epochs, scores, thresholds and resampled scores against a result's.

    `resampled` are the result's as this version has them, then as earlier ones had them, which did
    not choose an epoch for each draw; the trial's may be either.
    """
    unknown = []
    apart = [
        *_differences("best epoch", {"": record.best_epoch}, {"": result.best_epoch}),
        *_differences("epochs", {"": record.epochs}, {"": len(result.history)}),
        *_differences("value", {"": record.value}, {"": _value(record, result, objective)}),
        *_differences("", record.scores, _finite(result.scores)),
        *_differences("value of epoch", _finite(record.curve), _curve(result, objective)),
    ]
    labels = per_label(result)
    if labels and not record.labels:
        unknown.append("the thresholds")
    else:
        for name in sorted({*labels, *record.labels}):
            said, found = record.labels.get(name, {}), labels.get(name, {})
            apart += _differences(name, _finite(said), _finite(found))
    if record.state == "complete":
        if not record.resampled:
            unknown.append("the scores of resampled rows")
        elif record.resampled not in resampled:
            now = resampled[0]
            apart += [
                f"resampled scores {name}"
                for name in sorted({*now, *record.resampled})
                if now.get(name) != record.resampled.get(name)
            ]
    return Compared(apart, unknown)


def compare_networks(kept: Checkpoint, made: Checkpoint) -> Iterator[str]:
    """Yield how a kept checkpoint's networks, thresholds and history differ from those made."""
    if len(kept.networks) != len(made.networks):
        yield f"networks {len(kept.networks)} -> {len(made.networks)}"
        return
    for k, (one, other) in enumerate(zip(kept.networks, made.networks, strict=True)):
        before, now = one.parameters, other.parameters
        for name in sorted({*before, *now}):
            if name not in before or name not in now or not torch.equal(before[name], now[name]):
                yield f"{name} of network {k} in the kept checkpoint"
    thresholds = kept.record.thresholds, made.record.thresholds
    yield from _differences("kept threshold of", *thresholds)
    for i, (row, again) in enumerate(zip(kept.history, made.history, strict=False), start=1):
        yield from _differences(f"kept history of epoch {i}:", _finite(row), _finite(again))
    yield from _differences(
        "kept number of epochs", {"": len(kept.history)}, {"": len(made.history)}
    )


def _value(record: TrialRecord, result: TrainResult, objective: str) -> float | None:
    """Return the value that a trial of such a result has; Optuna gives a pruned one its latest."""
    if record.state == "complete":
        return value_of(result, objective)
    curve = _curve(result, objective)
    return curve[max(curve)] if record.state == "pruned" and curve else None


def _curve(result: TrainResult, objective: str) -> dict[int, float]:
    curve = {int(row["epoch"]): value_in(row, objective) for row in result.history}
    return _finite(curve)


def _finite(scores: Mapping[Any, float]) -> dict[Any, float]:
    """Return the scores that a study stores: the finite ones."""
    return {key: value for key, value in scores.items() if math.isfinite(value)}


def _differences(what: str, said: Mapping[Any, Any], found: Mapping[Any, Any]) -> Iterator[str]:
    for key in sorted({*said, *found}):
        before, now = said.get(key), found.get(key)
        if before != now:
            name = f"{what} {key}".strip()
            yield f"{name} {_shown(before)} -> {_shown(now)}"


def _shown(value: float | None) -> str:
    if value is None:
        return "nothing"
    return str(value) if isinstance(value, int) else f"{value:.6f}"
