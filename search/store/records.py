"""A study as plain records: all that comes after a search reads only these."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NotRequired

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from search.space.space import REMEDIES, is_active
from search.store.attributes import (
    BEST_EPOCH,
    CONFIG,
    CONFIRMED,
    DEFINITION,
    DIAGNOSIS,
    ENVIRONMENT,
    EPOCHS,
    FAILURE,
    FINGERPRINT,
    LABELS,
    LOST,
    RECIPE,
    RESAMPLED,
    SCORES,
    SECONDS,
    SIGNS,
    STACK,
    STOPPED,
)
from studies.definition import StudyDefinition
from trainer.config import invalid
from trainer.errors import ConfigError

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class SignRecord:
    """A sign of trouble in a trial's run: its name, a sentence, and flags that may help."""

    name: str
    words: str
    remedies: tuple[str, ...]


@dataclass(frozen=True)
class TrialRecord:
    """One trial that ended complete, pruned or failed, or was lost with its process.

    value         the objective at its best epoch, the latest of a pruned one; None if it has none
    params        what the sampler drew, `distributions` what from; `config` the whole TrainConfig
    scores        the validation scores of the best epoch
    recipe        the name of a known recipe
    failure       why it failed by itself; `lost` why it was ended from outside
    labels        each label's threshold and validated scores at the best epoch
    signs         what its diagnosis found, `diagnosis` their names; None if it was never diagnosed
    stopped       why its training ended: epochs, patience, caller or non_finite
    stack         the numbers of the trials beside which it ended
    curve         epoch -> the objective that it reported then, finite or not
    trial_id      what the storage calls it, and optuna-dashboard with it
    resampled     a complete one's objective over draws of rows, as ResampledScores has it
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
    lost: str | None = None
    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    signs: tuple[SignRecord, ...] = ()
    diagnosis: tuple[str, ...] | None = None
    stopped: str | None = None
    stack: tuple[int, ...] = ()
    curve: dict[int, float] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    distributions: dict[str, Any] = field(default_factory=dict)
    trial_id: int = -1
    resampled: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def from_trial(cls, trial: FrozenTrial) -> "TrialRecord":
        """Read a finished trial; raises ConfigError if an attribute is not what raretune writes."""
        attributes = trial.user_attrs
        diagnosis = attributes.get(DIAGNOSIS)
        content = {
            "number": trial.number,
            "state": "lost" if LOST in attributes else STATES[trial.state],
            "value": trial.values[0] if trial.values else None,
            "params": trial.params,
            "config": attributes.get(CONFIG, {}),
            "scores": attributes.get(SCORES, {}),
            "best_epoch": attributes.get(BEST_EPOCH, 0),
            "epochs": attributes.get(EPOCHS, 0),
            "seconds": attributes.get(SECONDS, 0.0),
            "recipe": attributes.get(RECIPE),
            "failure": attributes.get(FAILURE),
            "environment": attributes.get(ENVIRONMENT, {}),
            "lost": attributes.get(LOST),
            "labels": attributes.get(LABELS, {}),
            "signs": attributes.get(SIGNS, ()),
            "diagnosis": None if diagnosis is None else _names(diagnosis),
            "stopped": attributes.get(STOPPED),
            "stack": attributes.get(STACK, ()),
            "curve": trial.intermediate_values,
            "started": trial.datetime_start,
            "ended": trial.datetime_complete,
            "distributions": trial.distributions,
            "trial_id": trial._trial_id,
            "resampled": attributes.get(RESAMPLED, {}),
        }
        record: TrialRecord = _validated(TRIAL, content, f"trial {trial.number}")
        if record.state == "complete" and (record.value is None or math.isnan(record.value)):
            raise _odd(f"trial {trial.number}", f"complete with the value {record.value}")
        return record


@dataclass(frozen=True)
class Confirmation:
    """A trial's objective over fresh seeds; `spread` is the standard deviation.

    `searched` is the value that the search had found, None if it is not known.
    """

    number: int
    searched: float | None
    values: list[float]
    mean: float
    spread: float


@dataclass(frozen=True)
class StudyRecord:
    """A study: its ended trials by number, and the best ones as confirmed over fresh seeds.

    `definition` is what was stored of its StudyDefinition, None if raretune did not search it.
    """

    name: str
    definition: dict[str, Any] | None
    trials: list[TrialRecord]
    confirmed: list[Confirmation]

    @property
    def objective(self) -> str:
        """What the study maximises, as a definition names it; "score" if nothing says."""
        return str((self.definition or {}).get("objective", "score"))

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        return next(iter(complete(self.trials)), None)


@dataclass(frozen=True)
class ChoiceSummary:
    """What one choice of a remedy brought: its trials, their best value and median value."""

    parameter: str
    choice: str
    trials: int
    best: float
    median: float


TRIAL = TypeAdapter(TrialRecord)
CONFIRMATIONS = TypeAdapter(list[Confirmation])
DEFINED = TypeAdapter(dict[str, Any] | None)


@with_config(ConfigDict(extra="allow"))
class _Split(TypedDict):
    folds: NotRequired[int | Literal["auto"]]  # auto where nothing was searched yet


@with_config(ConfigDict(extra="allow"))
class _Fingerprint(TypedDict):
    table: NotRequired[dict[str, Any]]
    split: NotRequired[_Split]
    seed: NotRequired[int]


FINGERPRINTED = TypeAdapter(_Fingerprint | None)


def read_study(study: optuna.Study) -> StudyRecord:
    """Read a study with its ended trials; raises ConfigError as TrialRecord.from_trial does."""
    attributes = study.user_attrs
    return StudyRecord(
        name=study.study_name,
        definition=_validated(DEFINED, attributes.get(DEFINITION), "the definition"),
        trials=read_records(study),
        confirmed=_validated(CONFIRMATIONS, attributes.get(CONFIRMED, []), "the confirmation"),
    )


def read_fingerprint(study: optuna.Study) -> dict[str, Any] | None:
    """Return what must stay the same while a study goes on; None if raretune did not make it.

    Its table, split and seed are checked where it has them; raises ConfigError if they are odd.
    """
    kept = study.user_attrs.get(FINGERPRINT)
    _validated(FINGERPRINTED, kept, "the fingerprint")
    return None if kept is None else dict(kept)


def read_definition(name: str, kept: Mapping[str, Any] | None) -> StudyDefinition:
    """Return the definition that was stored with a study of this name; raises ConfigError."""
    if kept is None:
        raise ConfigError(f"study {name!r} was not searched by raretune; name another one")
    try:
        return StudyDefinition.model_validate(kept)
    except ValidationError as error:
        found = str(invalid(error))
    except ConfigError as error:
        found = str(error)
    raise ConfigError(
        f"study {name!r} has a definition that this version of raretune can't read "
        f"({found}); use the version that searched it, or search again under another --name"
    )


def read_records(study: optuna.Study) -> list[TrialRecord]:
    """Return the ended trials by number; raises ConfigError as TrialRecord.from_trial does."""
    trials = study.get_trials(deepcopy=False, states=tuple(STATES))
    return [TrialRecord.from_trial(trial) for trial in trials]


def count_ended(study: optuna.Study) -> int:
    """Return how many trials have ended, without a look at what they hold."""
    return len(study.get_trials(deepcopy=False, states=tuple(STATES)))


def score_of(record: TrialRecord) -> float:
    """Return the value of a trial that has one; raises ValueError for any other."""
    if record.value is None:
        raise ValueError(f"trial {record.number} has no value")
    return record.value


def id_of(trial: FrozenTrial | Trial) -> int:
    """Return what a storage knows a trial by, of all studies; its number is that of its study."""
    return trial._trial_id


def complete(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials, best first; of equal ones the earlier first."""
    done = [record for record in records if record.state == "complete"]
    return sorted(done, key=lambda record: (-score_of(record), record.number))


def count_states(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Return how many trials ended complete, pruned and failed; lost ones were tried again."""
    states = [record.state for record in records]
    return {state: states.count(state) for state in STATES.values()}


def summarise_choices(records: Sequence[TrialRecord]) -> list[ChoiceSummary]:
    """Compare the choices of each searched remedy over all trials with a value, best first.

    A remedy counts only where it is active.
    """
    rows = []
    for parameter in REMEDIES:
        values: dict[str, list[float]] = {}
        for record in records:
            active = is_active(parameter, record.config)
            choice = record.config.get(parameter) if active else None
            if record.value is not None and isinstance(choice, str):
                values.setdefault(choice, []).append(record.value)
        found = [
            ChoiceSummary(parameter, choice, len(v), max(v), statistics.median(v))
            for choice, v in values.items()
        ]
        rows += sorted(found, key=lambda row: -row.best)
    return rows


def _names(diagnosis: object) -> list[str]:
    return [name for name in str(diagnosis).split("; ") if name]


def _validated(adapter: TypeAdapter[Any], content: object, what: str) -> Any:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise _odd(what, f"{place}: {first['msg']}") from None


def _odd(what: str, how: str) -> ConfigError:
    return ConfigError(
        f"{what} of this study is not as raretune writes it ({how}); put a backup of the database "
        "in its place, or search again under another --name"
    )
