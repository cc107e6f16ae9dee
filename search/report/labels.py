"""What a report tells of each label: its scores, its curves, and the cuts of its slider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.evidence.evidence import BeforeAndAfter, LabelEvidence, LabelTest
from search.figures.captioned import CaptionedFigure
from search.figures.labels import chosen_cut
from search.figures.words import count

TEST_SCORES = {
    "f1": "Test F1",
    "precision": "Precision",
    "recall": "Recall",
    "average_precision": "Average precision",
    "roc_auc": "ROC AUC",
}


@dataclass(frozen=True)
class Rows:
    """The rows of a part that is not empty, and how many of them are positive."""

    rows: int
    positives: int

    @property
    def share(self) -> float:
        """Share of positives, in [0, 1]."""
        return self.positives / self.rows


@dataclass(frozen=True)
class Score:
    """A test score with its 95 % interval; None where it is not defined."""

    title: str
    value: float | None
    interval: tuple[float | None, float | None]


@dataclass(frozen=True)
class LabelContent:
    """One label: `scores` and `test` are of the test rows, all else of the validation rows.

    Without test rows there are no scores; a figure that can't be drawn is None.
    """

    name: str
    threshold: float
    f1: float | None
    validation: Rows
    test: Rows | None
    scores: list[Score]
    on_test: str
    curve: CaptionedFigure | None
    reliability: CaptionedFigure | None
    decisions: CaptionedFigure | None
    columns: CaptionedFigure | None
    cuts: dict[str, Any]
    doubt: str = ""


def label_content(
    label: LabelEvidence, figures: Mapping[str, CaptionedFigure], doubt: str = ""
) -> LabelContent:
    """Return what is told of a label; `figures` are all of the study, by name.

    `doubt` says why the label should not be relied on, if it should not.
    """
    chosen = chosen_cut(label)
    found, alarms = label.true_positives[chosen], label.false_positives[chosen]
    test = label.test
    return LabelContent(
        name=label.label,
        threshold=label.threshold_in_use,
        f1=2 * found / (found + alarms + label.positives) if label.positives else None,
        validation=Rows(label.rows, label.positives),
        test=None if test is None else Rows(_rows(test), test.support),
        scores=[] if test is None else _scores(test),
        on_test="" if test is None else _on_test(test),
        curve=figures.get(f"precision_recall:{label.label}"),
        reliability=figures.get(f"reliability:{label.label}"),
        decisions=figures.get(f"decision_curve:{label.label}"),
        columns=figures.get(f"columns:{label.label}"),
        cuts={
            "cuts": label.cuts_in_use,
            "found": label.true_positives,
            "alarms": label.false_positives,
            "rows": label.rows,
            "positives": label.positives,
            "chosen": chosen,
        },
        doubt=doubt,
    )


@dataclass(frozen=True)
class Trust:
    """How right the labels' probabilities are, `before` and `after` calibration, on `where` rows.

    `shares` has each label's share of positives there.
    """

    where: str
    calibration: dict[str, BeforeAndAfter]
    shares: dict[str, float]


def trust(labels: Sequence[LabelEvidence]) -> Trust | None:
    """Return what is told of calibration: on test rows, if there are any; None without one."""
    tested = {one.label: one.test for one in labels if one.test is not None}
    on_test = {name: test.calibration for name, test in tested.items() if test.calibration}
    if on_test:
        shares = {name: tested[name].support / _rows(tested[name]) for name in on_test}
        return Trust("test", on_test, shares)
    scores = {one.label: one.calibration.scores for one in labels if one.calibration is not None}
    shares = {one.label: one.positives / one.rows for one in labels}
    return Trust("validation", scores, shares) if scores else None


def _rows(test: LabelTest) -> int:
    return test.support + _negatives(test)


def _negatives(test: LabelTest) -> int:
    return test.false_positives + test.true_negatives


def _scores(test: LabelTest) -> list[Score]:
    return [
        Score(title, getattr(test, name), test.intervals.get(name, (None, None)))
        for name, title in TEST_SCORES.items()
    ]


def _on_test(test: LabelTest) -> str:
    return (
        f"On the locked test rows its threshold found {test.true_positives:,} of "
        f"{count(test.support, 'positive')}, with {count(test.false_positives, 'false alarm')} "
        f"among {count(_negatives(test), 'negative')}."
    )
