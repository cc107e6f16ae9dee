"""A study as plain records: all that comes after a search reads only these."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.space.space import REMEDIES
from search.store.attributes import (
    BEST_EPOCH,
    CONFIG,
    ENVIRONMENT,
    EPOCHS,
    FAILURE,
    LOST,
    RECIPE,
    SCORES,
    SECONDS,
)

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class TrialRecord:
    """One trial that ended complete, pruned or failed, or was lost with its process.

    `value` is the objective at its best epoch, the latest of a pruned one, None if it has none;
    `config` is the resolved TrainConfig, `scores` the validation scores of the best epoch, `recipe`
    the name of a known recipe.
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    config: dict[str, Any]
    scores: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    recipe: str | None
    failure: str | None
    environment: dict[str, str]

    @classmethod
    def from_trial(cls, trial: FrozenTrial) -> "TrialRecord":
        """Read a finished trial's attributes."""
        attributes = trial.user_attrs
        return cls(
            number=trial.number,
            state="lost" if LOST in attributes else STATES[trial.state],
            value=trial.values[0] if trial.values else None,
            params=dict(trial.params),
            config=attributes.get(CONFIG, {}),
            scores=attributes.get(SCORES, {}),
            best_epoch=attributes.get(BEST_EPOCH, 0),
            epochs=attributes.get(EPOCHS, 0),
            seconds=attributes.get(SECONDS, 0.0),
            recipe=attributes.get(RECIPE),
            failure=attributes.get(FAILURE),
            environment=attributes.get(ENVIRONMENT, {}),
        )


@dataclass(frozen=True)
class ChoiceRecord:
    """What one choice of a remedy brought: its trials, their best value and median value."""

    parameter: str
    choice: str
    trials: int
    best: float
    median: float


def read_records(study: optuna.Study) -> list[TrialRecord]:
    """Return the ended trials by number."""
    trials = study.get_trials(deepcopy=False, states=tuple(STATES))
    return [TrialRecord.from_trial(trial) for trial in trials]


def score_of(record: TrialRecord) -> float:
    """Return the value of a trial that has one; raises ValueError for any other."""
    if record.value is None:
        raise ValueError(f"trial {record.number} has no value")
    return record.value


def complete(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials, best first; of equal ones the earlier first."""
    done = [record for record in records if record.state == "complete"]
    return sorted(done, key=lambda record: (-score_of(record), record.number))


def count_states(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Return how many trials ended complete, pruned and failed; lost ones were tried again."""
    states = [record.state for record in records]
    return {state: states.count(state) for state in STATES.values()}


def acts(parameter: str, config: Mapping[str, Any]) -> bool:
    """Whether a setting changes what a run with this config does; the space searches it anyway.

    Plain bce has no class weights, focal alone a gamma, and logistic regression no hidden layer.
    """
    match parameter:
        case "class_weight_method" | "class_weight_multiplier":
            return config.get("loss_type") != "bce"
        case "focal_gamma":
            return config.get("loss_type") == "focal"
        case "hidden_dim" | "dropout":
            return config.get("num_layers") != 0
    return True


def remedies(records: Sequence[TrialRecord]) -> list[ChoiceRecord]:
    """Compare the choices of each searched remedy over all trials with a value, best first.

    A remedy counts only where it acts.
    """
    rows = []
    for parameter in REMEDIES:
        values: dict[str, list[float]] = {}
        for record in records:
            choice = record.config.get(parameter) if acts(parameter, record.config) else None
            if record.value is not None and isinstance(choice, str):
                values.setdefault(choice, []).append(record.value)
        found = [
            ChoiceRecord(parameter, choice, len(v), max(v), statistics.median(v))
            for choice, v in values.items()
        ]
        rows += sorted(found, key=lambda row: -row.best)
    return rows
