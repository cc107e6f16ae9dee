"""What each remedy of the best trial is worth, as it is kept with the study and told in words.

It is made in search.appraisal.ablation; to read it needs neither table nor networks.
"""

import json
import math
from typing import Any

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from search.appraisal.interval import Bounds
from search.figures.words import listed
from search.space.objective import in_words
from search.store.attributes import CERTIFICATE
from search.store.identity import origin_of
from search.store.records import TrialRecord
from trainer.checkpoint import json_text

ALL = "all together"
CHANCE = "nothing that can be told from chance"
IT, THEY = ("is", "costs"), ("are", "cost")
VERBS = {"class weights": THEY}


class Worth(BaseModel):
    """What one remedy is worth: the winning settings with it, against the same without it.

    `without` are the settings that take it away. `difference` is that of the study's objective,
    mean over the seeds, with its 95 % interval; bounds are None where all rows are one group.
    """

    model_config = ConfigDict(frozen=True)

    remedy: str
    without: dict[str, Any]
    difference: float
    interval: Bounds

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval is on one side of 0, else 0."""
        low, high = (math.nan if bound is None else bound for bound in self.interval)
        return int(low > 0) - int(high < 0)


class Certificate(BaseModel):
    """The worth of each remedy that a trial uses; of none if it uses none.

    `seeds` new seeds were trained with each of the settings, none of them one that was searched
    with, for at most `epochs` epochs each. The last of several remedies is all of them together.
    """

    model_config = ConfigDict(frozen=True)

    trial: int
    objective: str
    seeds: int
    epochs: int
    remedies: list[Worth]

    @property
    def verdict(self) -> str:
        """What all this means, in a sentence or two."""
        if not self.remedies:
            return (
                f"Trial {self.trial} uses no remedy for imbalance but tuned thresholds, so there "
                "is none to certify."
            )
        single = [one for one in self.remedies if one.remedy != ALL]
        unit = f" {in_words(self.objective)} here"
        first = "; ".join(_clauses(single, unit))
        sentence = f"{first[:1].upper()}{first[1:]}"
        together = next((one for one in self.remedies if one.remedy == ALL), None)
        if together is None:
            return f"{sentence}."
        if not any(one.sign for one in self.remedies):
            return f"{sentence}, neither one by one nor together."
        told_before = any(one.sign for one in single)
        return f"{sentence}. {_together(together)}{'' if told_before else unit}."

    def to_json(self) -> dict[str, Any]:
        """Return all of it, its verdict too, as JSON types."""
        return {"verdict": self.verdict, **self.model_dump(mode="json")}


def told(worth: Worth) -> str:
    """Say of one remedy, in a few words, what it is worth."""
    return {1: "earns its place", -1: "harms", 0: "can't be told from chance"}[worth.sign]


def interval_words(worth: Worth) -> str:
    """Return a remedy's interval, or a dash where there is none."""
    low, high = worth.interval
    return "-" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def keep(study: optuna.Study, record: TrialRecord, certificate: Certificate) -> None:
    """Keep a trial's certificate with the study, in place of an earlier one."""
    content = json.loads(json_text(certificate.model_dump()))
    about = origin_of(study, record)._asdict()
    study.set_user_attr(CERTIFICATE, {**about, "content": content})


def kept(study: optuna.Study, record: TrialRecord | None) -> Certificate | None:
    """Return the certificate kept with the study if it is of this very trial, else None."""
    found = study.user_attrs.get(CERTIFICATE)
    if record is None or not isinstance(found, dict):
        return None
    if {key: found.get(key) for key in ("study_id", "digest")} != origin_of(
        study, record
    )._asdict():
        return None
    try:
        certificate = Certificate.model_validate(found.get("content"))
    except ValidationError:
        return None
    return certificate if certificate.trial == record.number else None


def _clauses(remedies: list[Worth], unit: str) -> list[str]:
    """Return what is to be said of the remedies, those that help first."""
    sure = sorted((one for one in remedies if one.sign), key=lambda one: -one.sign)
    clauses = [f"{one.remedy} {_amount(one, *VERBS.get(one.remedy, IT))}" for one in sure]
    if clauses:
        clauses[0] += unit
    if unsure := [one.remedy for one in remedies if not one.sign]:
        verb = "are" if len(unsure) > 1 else VERBS.get(unsure[0], IT)[0]
        clauses.append(f"{listed(unsure)} {'' if sure else f'{verb} worth '}{CHANCE}")
    return clauses


def _together(worth: Worth) -> str:
    amount = _amount(worth, *THEY) if worth.sign else f"are worth {CHANCE}"
    return f"Together they {amount}"


def _amount(worth: Worth, be: str, cost: str) -> str:
    """Return what is sure: "is worth +0.012 (0.003 to 0.021)", or "costs ..." if it is a loss."""
    low, high = (abs(bound or 0.0) for bound in worth.interval)
    difference = abs(worth.difference)
    if worth.sign > 0:
        return f"{be} worth +{difference:.3f} ({low:.3f} to {high:.3f})"
    return f"{cost} {difference:.3f} ({high:.3f} to {low:.3f})"
