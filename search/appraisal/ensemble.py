"""An ensemble of a study's trials and what it is worth, as kept with the study, and in words.

It is chosen where table and predictions are at hand, and stands among the study's system
attributes, so that a report needs neither.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from pydantic import BaseModel, ConfigDict, Field

from search.appraisal.interval import Bounds
from search.store.attributes import ENSEMBLE
from search.store.identity import digest_of, identity_of, origin_of
from search.store.records import TrialRecord, complete
from search.store.transactions import is_writable, set_study_attributes, study_attributes
from trainer.checkpoint import json_text

FORMAT = 1


class Frozen(BaseModel):
    """A record that never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(Frozen):
    """A macro score of the ensemble and of the best trial on rows that chose neither."""

    ensemble: float
    best: float
    difference: float
    interval: Bounds


class TestScores(Frozen):
    """Macro scores on the locked test rows, with 95 % intervals."""

    macro_f1: float
    interval: Bounds
    average_precision: float | None
    average_precision_interval: Bounds

    @classmethod
    def of(cls, test: Mapping[str, Any]) -> "TestScores":
        """Take what a checkpoint's record has of the test rows."""
        intervals = test["intervals"]["macro"]
        return cls(
            macro_f1=test["macro_f1"],
            interval=tuple(intervals["f1"]),
            average_precision=test["macro_average_precision"],
            average_precision_interval=tuple(intervals["average_precision"]),
        )


class Ensemble(Frozen):
    """Which trials are its members, what each weighs, and what it is worth beside the best trial.

    `trials` are numbers, heaviest first, `digests` what each of them is; `weights` sum to 1. It was
    chosen from the best `chosen_from` trials, the best of which is `best`. `interval` is that of
    its own `macro_f1`. The test scores are None where no rows were held out for test.
    """

    trials: list[int] = Field(min_length=1)
    weights: list[float]
    digests: list[str]
    best: int
    chosen_from: int
    macro_f1: Difference
    interval: Bounds
    average_precision: Difference
    test: TestScores | None
    best_test: TestScores | None

    @property
    def is_recommended(self) -> bool:
        """Whether it did better than the best trial on rows that chose neither."""
        return self.macro_f1.difference > 0


def store(study: optuna.Study, ensemble: Ensemble) -> None:
    """Keep an ensemble with the study, unless that was opened to be read only."""
    if is_writable(study):
        content = json.loads(json_text(ensemble.model_dump()))
        about = {"format": FORMAT, "study_id": identity_of(study), "sha256": digest_of(content)}
        set_study_attributes(study, {ENSEMBLE: {**about, "content": content}})


def stored(study: optuna.Study, records: Sequence[TrialRecord]) -> Ensemble | None:
    """Return the ensemble kept of a study's trials; None without one that is of them as they are.

    It is held against the best trial, so that it is not taken once another trial is the best.
    """
    try:
        kept = study_attributes(study)[ENSEMBLE]
        content = kept["content"]
        about = kept["format"], kept["study_id"], kept["sha256"]
        if about != (FORMAT, identity_of(study), digest_of(content)):
            return None
        found = Ensemble.model_validate(content)
    except (KeyError, TypeError, ValueError):  # pydantic's error is a ValueError
        return None
    ranked = complete(records)
    digests = {
        one.number: origin_of(study, one).digest for one in ranked if one.number in found.trials
    }
    is_current = found.digests == [digests.get(number) for number in found.trials]
    return found if is_current and ranked[0].number == found.best else None


def to_json(ensemble: Ensemble, test: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """Return what a command prints of an ensemble with --json; `test` has all its test scores."""
    return {
        "trials": ensemble.trials,
        "weights": ensemble.weights,
        "validation": {
            "macro_f1": ensemble.macro_f1.ensemble,
            "interval": ensemble.interval,
            "average_precision": ensemble.average_precision.ensemble,
        },
        "gain": {
            "macro_f1": ensemble.macro_f1.model_dump(exclude={"ensemble"}),
            "average_precision": ensemble.average_precision.model_dump(exclude={"ensemble"}),
        },
        "test": test,
        "checkpoint": str(folder),
        "recommended": ensemble.is_recommended,
    }


def recommendation(ensemble: Ensemble, best_folder: Path, folder: Path) -> str:
    """Say in one sentence which to use, the best trial or the ensemble, and how sure that is."""
    gain = ensemble.macro_f1
    low, high = gain.interval
    members = "trial" if len(ensemble.trials) == 1 else "trials"
    what = f"the ensemble of {len(ensemble.trials)} {members}"
    bounds = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    rows = "on rows that chose neither"
    if not ensemble.is_recommended:
        lower = "no higher" if gain.difference == 0 else f"lower by {-gain.difference:.3f}"
        bounds = "" if low is None or high is None else f" ({-high:.3f} to {-low:.3f})"
        return (
            f"Use the best trial, {shlex.quote(str(best_folder))}: {rows} the macro-F1 of {what} "
            f"is {lower}{bounds if gain.difference else ''}."
        )
    unsure = "" if low is not None and low > 0 else ", which can't be told from chance"
    return (
        f"Use {what}, {shlex.quote(str(folder))}: {rows} its macro-F1 is higher than the best "
        f"trial's by {gain.difference:.3f}{bounds}{unsure}."
    )
