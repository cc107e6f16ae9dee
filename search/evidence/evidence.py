"""What a study's best trial is worth and why, label by label: what a report shows beyond records.

It is gathered once, where table and checkpoints are at hand, and kept with the study, so that a
report can be made from the storage alone. It stands among the study's system attributes in pieces,
one for each label and one for the rest, each far below the 65,535 bytes of MySQL's TEXT.
"""

import json
from collections.abc import Sequence
from typing import Any

import optuna
import torch
from pydantic import BaseModel, ConfigDict

from search.store.attributes import EVIDENCE
from search.store.identity import Origin, digest_of, origin_of_number
from search.store.records import TrialRecord, complete
from search.store.transactions import is_writable, set_study_attributes, study_attributes
from trainer.checkpoint import Checkpoint, json_text
from trainer.scores.bootstrap import Interval
from trainer.scores.calibration import Calibration, calibrate
from trainer.scores.reliability import DecisionCurve

FORMAT = 1


class Frozen(BaseModel):
    """A record that never changes."""

    model_config = ConfigDict(frozen=True)


class ColumnImportance(Frozen):
    """What shuffling a column's validation rows costs a label: mean drop of its AP, and spread."""

    column: str
    drop: float
    spread: float


BeforeAndAfter = dict[str, dict[str, float | None]]


class LabelTest(Frozen):
    """One label on the locked test rows at its threshold, with 95 % intervals (low, high).

    `calibration` has the scores of trainer.scores.reliability "before" and "after" it; None if the
    checkpoint has no calibration.
    """

    precision: float
    recall: float
    f1: float
    average_precision: float
    roc_auc: float | None
    support: int
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    intervals: dict[str, tuple[float | None, float | None]]
    calibration: BeforeAndAfter | None = None


class LabelCalibration(Frozen):
    """One label's calibrated probabilities on the validation rows, by curves that never saw them.

    `a`, `b` and `c` are the label's curve itself; see trainer.scores.calibration. `scores` are
    those of trainer.scores.reliability, "before" and "after"; `predicted`, `observed` and
    `bin_rows` are the bins, `decisions` is the decision curve of raw and calibrated probabilities.
    """

    a: float
    b: float
    c: float
    scores: BeforeAndAfter
    predicted: list[float]
    observed: list[float]
    bin_rows: list[int]
    decisions: DecisionCurve

    @property
    def curve(self) -> Calibration:
        """The curve from raw to calibrated probabilities."""
        return Calibration(self.a, self.b, self.c)


class LabelEvidence(Frozen):
    """One label on the validation rows, where cuts are chosen, and on the test rows.

    `cuts` fall; `true_positives` and `false_positives` count the rows with a probability of at
    least the cut, of `rows` rows with `positives` positives. `threshold` is exactly one of the
    cuts; the others lie where positives enter and evenly over the rows. `predicted`, `observed`,
    `bin_rows`, `low` and `high` are the bins of the reliability diagram with Wilson intervals.
    All of these are of the networks' own, raw probabilities; `calibration` is None where those are
    handed out. `columns` are the most important ones, by their drop on the validation rows.
    """

    label: str
    threshold: float
    rows: int
    positives: int
    cuts: list[float]
    true_positives: list[int]
    false_positives: list[int]
    predicted: list[float]
    observed: list[float]
    bin_rows: list[int]
    low: list[float]
    high: list[float]
    columns: list[ColumnImportance]
    test: LabelTest | None
    calibration: LabelCalibration | None = None

    @property
    def cuts_in_use(self) -> list[float]:
        """The cuts of the probabilities that are handed out, falling."""
        if self.calibration is None:
            return self.cuts
        raw = torch.tensor(self.cuts)[:, None]
        moved: list[float] = calibrate(raw, [self.calibration.curve])[:, 0].tolist()
        return moved

    @property
    def threshold_in_use(self) -> float:
        """The threshold of the probabilities that are handed out."""
        return self.cuts_in_use[self.cuts.index(self.threshold)]


class Contender(Frozen):
    """What the best trial is held against on the test rows; `trial` is None if nothing is trained.

    `validated` is the cross-fitted macro-F1 of the validation rows. `macro_f1` and `interval` are
    of the test rows; `difference` is the best trial's macro-F1 minus this one's, with the interval
    of that difference over the same resamples.
    """

    name: str
    trial: int | None
    validated: float | None
    macro_f1: float
    interval: Interval
    difference: float
    difference_interval: Interval


class TableFacts(Frozen):
    """The table a study was searched on: rows in all and of each part, columns that are features.

    With several folds, `validation` counts the rows held out from some fold and `train` those that
    the first fold trains on. `prevalence` is each label's share of positives among all rows.
    """

    file: str
    sha256: str
    rows: int
    features: int
    group: str | None
    train: int
    validation: int
    test: int
    split_seed: int
    folds: int = 1
    repeats: int = 1
    prevalence: dict[str, float]


class Evidence(Frozen):
    """The best trial's evidence: `validated` macro-F1, cross-fitted, and that of the test rows.

    Without test rows `macro_f1` and `interval` are None; where the test rows are one single group,
    `interval` is. Nothing is contended without an interval. `doubts` says of some labels why they
    should not be relied on.
    """

    trial: int
    validated: float
    macro_f1: float | None
    interval: Interval | None
    table: TableFacts
    labels: list[LabelEvidence]
    contenders: list[Contender]
    doubts: dict[str, str] = {}


def store(study: optuna.Study, evidence: Evidence) -> None:
    """Keep the evidence with the study, in place of that of a former best trial.

    Nothing is kept where the study was opened to be read only.
    """
    if not is_writable(study):
        return
    whole = json.loads(json_text(evidence.model_dump()))
    labels = whole.pop("labels")
    pieces = {f"label:{i}": label for i, label in enumerate(labels)}
    pieces["rest"] = {"labels": len(labels), **whole}
    origin = origin_of_number(study, evidence.trial)
    about = {"format": FORMAT, "trial": evidence.trial, **origin._asdict()}
    set_study_attributes(
        study,
        {
            EVIDENCE + name: {**about, "content": piece, "sha256": digest_of(piece)}
            for name, piece in pieces.items()
        },
    )


def stored(study: optuna.Study, trial: int) -> Evidence | None:
    """Return the evidence kept of a trial; None if it is of another one, or not as we write it.

    In a study that has no UUID, what an earlier version kept is taken as it is.
    """
    pieces, origin = study_attributes(study), origin_of_number(study, trial)
    try:
        rest = _content(pieces[f"{EVIDENCE}rest"], trial, origin)
        labels = [
            _content(pieces[f"{EVIDENCE}label:{i}"], trial, origin)
            for i in range(rest.pop("labels"))
        ]
        return Evidence.model_validate({**rest, "labels": labels})
    except (KeyError, TypeError, ValueError):  # pydantic's error is a ValueError
        return None


def is_of(evidence: Evidence | None, checkpoint: Checkpoint) -> bool:
    """Whether evidence tells of a checkpoint what the checkpoint does."""
    if evidence is None:
        return False
    record = checkpoint.record
    curves = [one.calibration and one.calibration.curve for one in evidence.labels]
    test: dict[str, Any] = dict(record.test or {})
    of_labels = {name: one["f1"] for name, one in test.get("labels", {}).items()}
    scores = (record.validation["macro_f1"], test.get("macro_f1"))
    return (
        (evidence.validated, evidence.macro_f1) == scores
        and {one.label: one.threshold for one in evidence.labels} == record.thresholds
        and [one for one in curves if one is not None] == (record.calibrations or [])
        and {one.label: one.test.f1 for one in evidence.labels if one.test} == of_labels
    )


def _content(piece: dict[str, Any], trial: int, origin: Origin) -> dict[str, Any]:
    """Return a piece's own part; raises ValueError if it is of another trial or format."""
    if (piece["format"], piece["trial"]) != (FORMAT, trial):
        raise ValueError("a piece of another trial's evidence")
    if (piece.get("study_id"), piece.get("digest", "")) != origin:
        if origin.study_id is not None or "digest" in piece:
            raise ValueError("a piece of another study's evidence, or of what its trial was before")
    elif piece["sha256"] != digest_of(piece["content"]):
        raise ValueError("a piece that was changed")
    return dict(piece["content"])


def up_to_date(study: optuna.Study, records: Sequence[TrialRecord]) -> Evidence | None:
    """Return the evidence kept of the best trial, unless it lacks a recipe that ended since."""
    ranked = complete(records)
    evidence = stored(study, ranked[0].number) if ranked else None
    if evidence is None or not evidence.contenders:
        return evidence
    known = {contender.name for contender in evidence.contenders}
    return evidence if known >= other_recipes(records).keys() else None


def other_recipes(records: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """Return the first complete trial of each known recipe by its name; not the best trial's."""
    best, *others = complete(records)
    found: dict[str, TrialRecord] = {}
    for record in sorted(others, key=lambda record: record.number):
        if record.recipe is not None and record.recipe != best.recipe:
            found.setdefault(record.recipe, record)
    return found
