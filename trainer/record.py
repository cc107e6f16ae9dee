"""What checkpoint.json says of a run, every field typed and checked.

A file from outside goes through `parse` and `Record.model_validate`: then it has a record's fields,
each in its range and in accord with the others, and nothing after needs to look again. An undefined
score is nan, which JSON lacks: it is null there, and None when read.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NoReturn, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict

from trainer.config import TrainConfig
from trainer.data.cells.dates import Form
from trainer.data.cells.dialect import Dialect
from trainer.data.features import Description
from trainer.data.split import MAX_FOLDS
from trainer.data.table import Roles
from trainer.errors import CheckpointError
from trainer.scores.calibration import Calibration, calibrated_thresholds
from trainer.scores.evaluation import threshold_tensor

ROUNDING = 1e-9  # sums of shares may end as far above 1
closed = with_config(ConfigDict(extra="forbid"))


def _share(value: float | None) -> float | None:
    if value is None or math.isnan(value) or 0 <= value <= 1 + ROUNDING:
        return value
    raise ValueError("must be from 0 to 1, or null where undefined")


Number = Annotated[float, Field(strict=True)]
Share = Annotated[Number, Field(ge=0, le=1 + ROUNDING)]
Undefinable = Annotated[Number | None, AfterValidator(_share)]
Count = Annotated[int, Field(strict=True, ge=0)]
Several = Annotated[Count, Field(ge=1, le=MAX_FOLDS)]
Finite = Annotated[Number, Field(ge=-1e9, le=1e9)]
Slope = Annotated[Finite, Field(ge=0)]


@closed
class LabelRecord(TypedDict):
    """One label's scores, as trainer.scores.evaluation.LabelScores has them."""

    threshold: Share
    precision: Undefinable
    recall: Undefinable
    f1: Undefinable
    average_precision: Undefinable
    roc_auc: Undefinable
    support: Count
    prevalence: Undefinable
    predicted_share: Undefinable
    true_positives: Count
    false_positives: Count
    false_negatives: Count
    true_negatives: Count
    brier: Undefinable
    calibration_error: Undefinable


@closed
class CalibrationRecord(TypedDict):
    """One label's curve, as trainer.scores.calibration.Calibration has it."""

    a: Slope
    b: Slope
    c: Finite


@closed
class CalibrationScoresRecord(TypedDict):
    """How right probabilities are, as trainer.scores.reliability.CalibrationScores has it."""

    mean_probability: Share
    brier: Share
    calibration_error: Share
    error_by_chance: Share
    slope: Number | None
    intercept: Number | None


@closed
class BeforeAndAfter(TypedDict):
    """How right the networks' own probabilities are, and the calibrated ones."""

    before: CalibrationScoresRecord
    after: CalibrationScoresRecord


@closed
class MacroIntervals(TypedDict):
    """95 % intervals of the means over the labels."""

    f1: tuple[Share, Share]
    average_precision: tuple[Undefinable, Undefinable]
    roc_auc: tuple[Undefinable, Undefinable]


@closed
class IntervalsRecord(TypedDict):
    """95 % intervals, as trainer.scores.bootstrap.Intervals has them."""

    macro: MacroIntervals
    labels: dict[str, dict[str, tuple[Undefinable, Undefinable]]]
    resamples: Count
    unit: str
    units: Count


@closed
class ScoresRecord(TypedDict):
    """All labels' scores, and their means; of raw probabilities at raw thresholds."""

    macro_f1: Share
    macro_average_precision: Undefinable
    macro_roc_auc: Undefinable
    labels: dict[str, LabelRecord]


@closed
class ValidationRecord(ScoresRecord):
    """What was seen on held-out rows; `scores` is the best epoch's row of the history.

    `doubts` are labels whose decisions should not be relied on, and why; `calibration` says of each
    label how right its probabilities are, calibrated by curves that never saw them. Older versions
    had neither.
    """

    scores: dict[str, Number | None]
    shrunk_thresholds: list[str]
    doubts: NotRequired[dict[str, str]]
    calibration: NotRequired[dict[str, BeforeAndAfter]]


@closed
class TestRecord(ScoresRecord):
    """What was seen on the locked test rows; older versions had no `calibration`."""

    intervals: IntervalsRecord
    calibration: NotRequired[dict[str, BeforeAndAfter]]


@closed
class RowsRecord(TypedDict):
    """How many rows each part has."""

    train: Count
    validation: Count
    test: Count


@closed
class SplitRecord(TypedDict):
    """What the split followed from, as SplitSettings has it; format 1 knew no folds."""

    val_size: Annotated[Number, Field(gt=0, lt=1)]
    test_size: Annotated[Number, Field(ge=0, lt=1)]
    seed: Count
    folds: NotRequired[Several]
    repeats: NotRequired[Several]
    rows: RowsRecord


@closed
class TableRecord(TypedDict):
    """The table that was trained on: its file's name, its rows, and the SHA-256 of its bytes."""

    file: str
    rows: Count
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


@with_config(ConfigDict(extra="allow"))
class TrialOrigin(TypedDict, total=False):
    """The trial that a checkpoint comes from: its study and number at least; a search says more."""

    study: str
    storage: str
    number: Count
    objective: str
    value: Number | None
    refit: str


@closed
class MemberRecord(TypedDict):
    """One of the trials that make up an ensemble; the weights of all sum to 1."""

    weight: Annotated[Number, Field(gt=0, le=1 + ROUNDING)]
    config: TrainConfig
    best_epoch: Annotated[Count, Field(ge=1)]
    trial: TrialOrigin


class Record(BaseModel):
    """What checkpoint.json holds; scores are in [0, 1], `best_epoch` counts from 1.

    `features` has the description of each fold's features. An ensemble has `members`, heaviest
    first, and no `trial`; `config` and `best_epoch` are then those of the first member.
    `dialect` and `dates` say how the table was written and understood; older versions knew neither.
    `thresholds` are those of the networks' own probabilities, and so are all scores; `calibration`
    has each label's curve to what is handed out. Versions before had none, and handed out the raw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[3] = 3
    config: TrainConfig
    labels: tuple[str, ...] = Field(min_length=1)
    roles: Roles
    features: Annotated[tuple[Description, ...], Field(min_length=1, max_length=MAX_FOLDS)]
    thresholds: dict[str, Share]
    calibration: dict[str, CalibrationRecord] | None = None
    best_epoch: Annotated[Count, Field(ge=1)]
    validation: ValidationRecord
    test: TestRecord | None
    split: SplitRecord
    table: TableRecord
    dialect: Dialect = Dialect()
    dates: dict[str, Form] = Field(default_factory=dict)
    trial: TrialOrigin | None = None
    members: tuple[MemberRecord, ...] = ()
    versions: dict[str, str]

    @property
    def doubts(self) -> dict[str, str]:
        """Labels whose decisions should not be relied on, and why; see trainer.scores.doubts."""
        return self.validation.get("doubts", {})

    @property
    def calibrations(self) -> list[Calibration] | None:
        """The curves in the order of the labels; None where raw probabilities are handed out."""
        if self.calibration is None:
            return None
        return [Calibration(**self.calibration[name]) for name in self.labels]

    @property
    def thresholds_in_use(self) -> dict[str, float]:
        """Thresholds of the probabilities that are handed out: calibrated, if they are."""
        if (calibrations := self.calibrations) is None:
            return self.thresholds
        raw = threshold_tensor(self.thresholds, self.labels)
        return dict(zip(self.labels, calibrated_thresholds(raw, calibrations), strict=True))

    def as_handed_out(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """Return scores of this record's kind as they are shown beside what is handed out.

        Of each label the threshold, Brier score and calibration error are those of calibrated
        probabilities; nothing else differs between raw and calibrated ones.
        """
        found, calibration = self.thresholds_in_use, scores.get("calibration", {})
        labels = {
            name: {**label, "threshold": found[name], **_errors(calibration.get(name))}
            for name, label in scores["labels"].items()
        }
        return {**scores, "labels": labels}

    @property
    def test_as_handed_out(self) -> dict[str, Any] | None:
        """The test scores `as_handed_out`, None where no rows were held out for test."""
        return None if self.test is None else self.as_handed_out(self.test)

    @model_validator(mode="after")
    def _in_accord(self) -> "Record":
        labels = set(self.labels)
        if len(labels) < len(self.labels):
            raise ValueError("a label is there twice")
        if self.roles.labels != self.labels:
            raise ValueError("labels and roles.labels are not the same in the same order")
        of_labels: dict[str, Iterable[str]] = {
            "thresholds": self.thresholds,
            "validation.labels": self.validation["labels"],
        }
        if self.calibration is not None:
            of_labels["calibration"] = self.calibration
        if "calibration" in self.validation:
            of_labels["validation.calibration"] = self.validation["calibration"]
        if self.test is not None:
            of_labels["test.labels"] = self.test["labels"]
            of_labels["test.calibration"] = self.test.get("calibration", labels)
            of_labels["test.intervals.labels"] = self.test["intervals"]["labels"]
        for name, found in of_labels.items():
            if set(found) != labels:
                raise ValueError(f"{name} are not those of its labels")
        if not labels.issuperset((*self.doubts, *self.validation["shrunk_thresholds"])):
            raise ValueError("validation names a label that is none of its labels")
        self._check_origins()
        if self.split["val_size"] + self.split["test_size"] >= 1:
            raise ValueError("split leaves no rows to train on")
        return self

    def _check_origins(self) -> None:
        members = self.members
        if members and self.trial is not None:
            raise ValueError("an ensemble is of no single trial")
        origins = [self.trial] if self.trial is not None else [one["trial"] for one in members]
        if not all({"study", "number"} <= origin.keys() for origin in origins):
            raise ValueError("trial lacks its study or number")
        if len({origin["number"] for origin in origins}) < len(origins):
            raise ValueError("a trial is a member twice")
        if members and abs(sum(one["weight"] for one in members) - 1) > ROUNDING:
            raise ValueError("the weights of its members don't sum to 1")
        if members and self.config != members[0]["config"]:
            raise ValueError("its config is not that of its first member")


def _errors(scores: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the two errors of calibrated probabilities, if they are known."""
    if scores is None:
        return {}
    return {name: scores["after"][name] for name in ("brier", "calibration_error")}


def parse(text: str) -> Any:
    """Read strict JSON; raises CheckpointError.

    NaN, infinities, numbers that a float can't hold, a key that is there twice and what is nested
    too deeply are refused.
    """
    try:
        return json.loads(
            text, parse_float=_finite_float, parse_constant=_refused, object_pairs_hook=_object
        )
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    except RecursionError:
        raise CheckpointError("its JSON is nested too deeply") from None


def _finite_float(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refused(digits)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant[:20]} is not a finite one")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key of its JSON is there twice")
    return content
