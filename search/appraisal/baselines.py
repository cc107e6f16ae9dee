"""What ordinary models are worth on a search's own folds and test rows, and whether one is better.

It is found once, where the table is at hand (search.appraisal.comparing), and kept with the study
among its system attributes, so that a report can be made from the storage alone.
"""

import json
from collections.abc import Mapping
from typing import Any

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from search.appraisal.interval import Bounds, with_interval
from search.store.attributes import BASELINES
from search.store.identity import origin_of_number
from search.store.transactions import is_writable, set_study_attributes, study_attributes
from trainer.checkpoint import json_text

FORMAT = 1
ENSEMBLE = "the ensemble"  # what it is called among what a search found


class Frozen(BaseModel):
    """A record that never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(Frozen):
    """Means over the labels, in [0, 1]; what is not defined is None.

    `interval` is the 95 % interval of macro-F1 over rows, or groups of rows. `calibration_error` is
    the expected calibration error.
    """

    macro_f1: float
    interval: Bounds
    macro_average_precision: float
    macro_roc_auc: float | None
    calibration_error: float


class Difference(Frozen):
    """A baseline's macro-F1 minus that of what the search found, with 95 % intervals.

    Both are from the paired bootstrap. `validation` is corrected for what was found having been
    chosen among many, as its validated score is. Without test rows, `test` is None.
    """

    validation: float
    validation_interval: Bounds
    test: float | None
    test_interval: Bounds


class Baseline(Frozen):
    """One baseline; `validation` is of the pooled held-out rows, with cross-fitted decisions.

    Of one that failed, `failed` says why, and it has no scores. `difference` maps what the search
    found to how far it is from that. `unlearnable` names the labels that a fold's train rows had
    one value of only. `seconds` is the time of all its fits.
    """

    validation: Scores | None = None
    test: Scores | None = None
    difference: dict[str, Difference] = {}
    unlearnable: list[str] = []
    seconds: float = 0.0
    failed: str = ""


class Found(Frozen):
    """What a search found: validated macro-F1, corrected for the search; scores of test rows."""

    validated: float
    test: float | None
    test_ap: float | None


class Comparison(Frozen):
    """What a search found, by name (`trial 54`), and the baselines, by name."""

    found: dict[str, Found]
    baselines: dict[str, Baseline]

    @property
    def scored(self) -> dict[str, tuple[Scores, Baseline]]:
        """The baselines that did not fail with their validated scores, best first."""
        scored = {
            name: (one.validation, one)
            for name, one in self.baselines.items()
            if one.validation is not None
        }
        return dict(sorted(scored.items(), key=lambda item: -item[1][0].macro_f1))

    def with_ensemble(self, validated: float | None) -> "Comparison":
        """Return the comparison as it holds for an ensemble of this score, or without any.

        An ensemble can be made anew after the baselines were held against an earlier one.
        """
        kept = self.found.get(ENSEMBLE)
        if kept is None or kept.validated == validated:
            return self
        found = {name: one for name, one in self.found.items() if name != ENSEMBLE}
        baselines = {
            name: one.model_copy(
                update={"difference": {n: d for n, d in one.difference.items() if n in found}}
            )
            for name, one in self.baselines.items()
        }
        return Comparison(found=found, baselines=baselines)

    def to_json(self) -> dict[str, Any]:
        """Return the baselines by name as JSON types."""
        return {name: one.model_dump() for name, one in self.baselines.items()}

    @property
    def failed(self) -> dict[str, str]:
        """Why those failed that did."""
        return {name: one.failed for name, one in self.baselines.items() if one.failed}


def store(study: optuna.Study, trial: int, comparison: Comparison) -> None:
    """Keep a comparison with the study, as one with its best trial; nothing if it is read only."""
    if not is_writable(study):
        return
    about = {"format": FORMAT, "trial": trial, **origin_of_number(study, trial)._asdict()}
    content = json.loads(json_text(comparison.model_dump()))
    set_study_attributes(study, {BASELINES: {**about, "content": content}})


def stored(study: optuna.Study, trial: int) -> Comparison | None:
    """Return the comparison that is kept; None if it is with another trial, or broken."""
    kept = study_attributes(study).get(BASELINES)
    about = {"format": FORMAT, "trial": trial, **origin_of_number(study, trial)._asdict()}
    if not isinstance(kept, Mapping) or {key: kept.get(key) for key in about} != about:
        return None
    try:
        return Comparison.model_validate_json(json.dumps(kept.get("content")))
    except ValidationError:
        return None


def better_sentence(comparison: Comparison | None) -> str:
    """Say which baseline is better than all that the search found, and by how much; "" if none is.

    The validated macro-F1 decides.
    """
    if comparison is None or not comparison.scored or not comparison.found:
        return ""
    name, (scores, baseline) = next(iter(comparison.scored.items()))
    best = max(comparison.found, key=lambda one: comparison.found[one].validated)
    found, difference = comparison.found[best], baseline.difference[best]
    if scores.macro_f1 <= found.validated:
        return ""
    sure = (difference.validation_interval[0] or 0) > 0
    sentence = (
        f"{name[0].upper()}{name[1:]} is better than what the search found: "
        f"its validated macro-F1 is "
        f"{scores.macro_f1:.3f}, that of {best} {found.validated:.3f}, "
        f"a difference of {with_interval(difference.validation, difference.validation_interval)}"
        f"{'' if sure else ', which may be chance'}"
    )
    if difference.test is None:
        return f"{sentence}."
    ahead = "ahead" if difference.test > 0 else "behind"
    apart = with_interval(difference.test, difference.test_interval)
    return f"{sentence}; on the test rows it is {ahead}, by {apart}."


def difference_words(difference: Difference) -> str:
    """Return by how much a baseline's validated macro-F1 is ahead of what was found."""
    return with_interval(difference.validation, difference.validation_interval, plus=True)
