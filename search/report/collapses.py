"""Trials that went wrong, grouped: what their runs showed, why some failed, and what to change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.store.records import TrialRecord


@dataclass(frozen=True)
class Trouble:
    """A sign in words: a short name, what it means, and the guide's remedy."""

    name: str
    meaning: str
    remedy: str


TROUBLES = {
    "non_finite": Trouble(
        "loss not finite",
        "the training or validation loss became infinite or not a number",
        "lower the learning rate and the class weights' multiplier; look for huge values",
    ),
    "all_negative": Trouble(
        "all negative",
        "at least one label is hardly ever predicted positive",
        "raise the class weights' multiplier to 3 or 5, sample per_class, try weighted_bce",
    ),
    "no_ranking": Trouble(
        "no better than chance",
        "ROC AUC stays about 0.5, so that no threshold can help",
        "go back to usual settings; or the columns say nothing about the labels",
    ),
    "overfitting_to_positives": Trouble(
        "too many positives",
        "far more rows are predicted positive than are",
        "lower the multiplier, sample balanced in place of per_class, raise dropout",
    ),
    "low_precision_high_recall": Trouble(
        "many false alarms",
        "the positives are found, among many false alarms; expected with severe imbalance",
        "raise the threshold, here with a label's slider",
    ),
    "unstable_loss": Trouble(
        "unstable loss",
        "the training loss explodes or leaps",
        "lower the learning rate, take smaller batches, lower the multiplier",
    ),
    "overfitting": Trouble(
        "overfitting",
        "the training rows are learnt by heart while the validation rows get worse",
        "raise dropout and weight decay, take a smaller network",
    ),
}


@dataclass(frozen=True)
class Collapse:
    """A kind of trouble and the numbers of the trials that showed it."""

    trouble: Trouble
    trials: list[int]


def collapses(diagnoses: Mapping[int, str]) -> list[Collapse]:
    """Group trials by the signs of their runs, the most frequent first.

    `diagnoses` maps a trial's number to its sign names, joined by "; ", or to "" if it has none.
    """
    found: dict[str, list[int]] = {}
    for number, names in diagnoses.items():
        for name in filter(None, names.split("; ")):
            found.setdefault(name, []).append(number)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    return [Collapse(TROUBLES.get(name, Trouble(name, "", "")), trials) for name, trials in ranked]


def failures(records: Sequence[TrialRecord]) -> list[tuple[str, list[int]]]:
    """Group failed and lost trials by their reason, the most frequent first."""
    found: dict[str, list[int]] = {}
    for record in records:
        if record.state == "lost":
            found.setdefault("its process ended; it was tried again", []).append(record.number)
        elif record.state == "failed":
            reason = record.failure or "no reason is noted"
            found.setdefault(reason, []).append(record.number)
    return sorted(found.items(), key=lambda item: -len(item[1]))
