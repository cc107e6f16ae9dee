"""What a report tells of ordinary models: a row for each, and what the numbers are."""

from dataclasses import dataclass
from typing import Any

from search.appraisal.baselines import Comparison, Difference
from search.appraisal.interval import Bounds, signed
from search.figures.words import listed
from trainer.pages.html import DASH

NONE: Bounds = (None, None)
MEANING = (
    "Each was fitted on the train rows of the same folds, for one label at a time, with thresholds "
    "chosen and scored as a trial's are. Intervals are of 95 %. A difference is that of the "
    "validated macro-F1, by the paired bootstrap; what was found is corrected for having been "
    "chosen among many, and a model of fixed settings needs no correction."
)


@dataclass(frozen=True)
class Row:
    """One model, or what was found: `validated` and `test` macro-F1 with intervals.

    `average_precision` and `calibration_error` are validated too, and `ahead` has in words by how
    much the validated macro-F1 is ahead of each find's, and the interval of that. What is not known
    is None.
    """

    name: str
    validated: float
    validated_interval: Bounds
    test: float | None
    test_interval: Bounds
    average_precision: float | None
    calibration_error: float | None
    ahead: list[tuple[str, str]]


def baseline_rows(comparison: Comparison) -> dict[str, Any]:
    """Return what the section shows: rows, best first, headings of differences, sentences."""
    finds = comparison.found
    rows = [
        Row(name, found.validated, NONE, found.test, NONE, None, None, [(DASH, "")] * len(finds))
        for name, found in finds.items()
    ]
    for name, (validation, one) in comparison.scored.items():
        differences = [one.difference[find] for find in finds]
        row = Row(
            name,
            validated=validation.macro_f1,
            validated_interval=validation.interval,
            test=None if one.test is None else one.test.macro_f1,
            test_interval=NONE if one.test is None else one.test.interval,
            average_precision=validation.macro_average_precision,
            calibration_error=validation.calibration_error,
            ahead=[_ahead(apart) for apart in differences],
        )
        rows.append(row)
    sentences = [f"{name} failed: {reason}." for name, reason in comparison.failed.items()]
    for name, one in comparison.baselines.items():
        if one.unlearnable:
            sentences.append(
                f"{name} could not learn {listed(one.unlearnable)} in some fold, whose train rows "
                "have one value of it only; that value is what it predicts there."
            )
    ahead = [f"ahead of {name}" for name in finds]
    return {"rows": rows, "ahead": ahead, "sentences": sentences, "meaning": MEANING}


def _ahead(difference: Difference) -> tuple[str, str]:
    low, high = difference.validation_interval
    interval = "" if low is None or high is None else f"{signed(low)} to {signed(high)}"
    return signed(difference.validation), interval
