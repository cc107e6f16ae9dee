"""Trials that went wrong, grouped: the signs in their runs, why some failed, what to change."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.store.records import TrialRecord


@dataclass(frozen=True)
class SignText:
    """A sign in words: a short name, what it means, and the guide's remedy."""

    name: str
    meaning: str
    remedy: str


SIGN_TEXTS = {
    "non_finite": SignText(
        "loss not finite",
        "the training or validation loss became infinite or not a number",
        "lower the learning rate and the class weights' multiplier; look for huge values",
    ),
    "all_negative": SignText(
        "all negative",
        "at least one label is hardly ever predicted positive",
        "raise the class weights' multiplier to 3 or 5, sample per_class, try weighted_bce",
    ),
    "no_ranking": SignText(
        "no better than chance",
        "ROC AUC stays about 0.5, so that no threshold can help",
        "go back to usual settings; or the columns say nothing about the labels",
    ),
    "upside_down": SignText(
        "ranked upside down",
        "a label's positives get lower probabilities than its negatives",
        "look for 0 and 1 exchanged, or a column that means something else in some rows",
    ),
    "overfitting_to_positives": SignText(
        "too many positives",
        "far more rows are predicted positive than are",
        "lower the multiplier, sample balanced in place of per_class, raise dropout",
    ),
    "low_precision_high_recall": SignText(
        "many false alarms",
        "the positives are found, among many false alarms; expected with severe imbalance",
        "raise the threshold, here with a label's slider",
    ),
    "unstable_loss": SignText(
        "unstable loss",
        "the training loss explodes or leaps",
        "lower the learning rate, take smaller batches, lower the multiplier",
    ),
    "overfitting": SignText(
        "overfitting",
        "the training rows are learnt by heart while the validation rows get worse",
        "raise dropout and weight decay, take a smaller network",
    ),
}


@dataclass(frozen=True)
class SignGroup:
    """A sign and the numbers of the trials whose runs showed it."""

    text: SignText
    trials: list[int]


def group_signs(records: Sequence[TrialRecord]) -> list[SignGroup]:
    """Group trials by the signs of their runs, the most frequent first."""
    found: dict[str, list[int]] = {}
    for record in records:
        for name in record.diagnosis or ():
            found.setdefault(name, []).append(record.number)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    return [
        SignGroup(SIGN_TEXTS.get(name, SignText(name, "", "")), trials) for name, trials in ranked
    ]


def group_failures(records: Sequence[TrialRecord]) -> list[tuple[str, list[int]]]:
    """Group failed and lost trials by their reason, the most frequent first."""
    found: dict[str, list[int]] = {}
    for record in records:
        if record.state == "lost":
            found.setdefault("its process ended; it was tried again", []).append(record.number)
        elif record.state == "failed":
            reason = record.failure or "no reason is noted"
            found.setdefault(reason, []).append(record.number)
    return sorted(found.items(), key=lambda item: -len(item[1]))
