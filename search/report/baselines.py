"""What a report tells of ordinary models: a row for each, and what the numbers are."""

from dataclasses import dataclass
from typing import Any

from search.appraisal.baselines import Comparison, difference_words
from search.figures.words import listed

Bounds = tuple[float | None, float | None]
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

    `average_precision` and `calibration_error` are validated too. What is not known is None.
    """

    name: str
    words: str
    validated: float
    validated_interval: Bounds
    test: float | None
    test_interval: Bounds
    average_precision: float | None = None
    calibration_error: float | None = None


def baseline_rows(comparison: Comparison) -> dict[str, Any]:
    """Return what the section shows: rows, best first, and sentences."""
    rows = [
        Row(name, "", found.validated, NONE, found.test, NONE)
        for name, found in comparison.found.items()
    ]
    for name, (validation, one) in comparison.scored.items():
        test, interval = (one.test.macro_f1, one.test.interval) if one.test else (None, NONE)
        words = difference_words(one, named=len(comparison.found) > 1)
        rows.append(
            Row(
                name,
                words,
                validation.macro_f1,
                validation.interval,
                test,
                interval,
                validation.macro_average_precision,
                validation.calibration_error,
            )
        )
    sentences = [f"{name} failed: {reason}." for name, reason in comparison.failed.items()]
    for name, one in comparison.baselines.items():
        if one.unlearnable:
            sentences.append(
                f"{name} could not learn {listed(one.unlearnable)} in some fold, whose train rows "
                "have one value of it only; that value is what it predicts there."
            )
    return {"rows": rows, "sentences": sentences, "meaning": MEANING}
