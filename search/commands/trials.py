"""`raretune trials` and `raretune best`: a study's trials as they are stored."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from rich.text import Text

from search.appraisal.certificate import kept
from search.appraisal.ensemble import recommendation, stored, to_json
from search.reopen import open_study_at, stored_definition
from search.report.verdict import confirmation
from search.space.objective import in_words
from search.store.complaints import tell
from search.store.identity import misfit_of_folder
from search.store.records import TrialRecord, complete, read_records, read_study
from search.workspace import Place
from trainer.checkpoint import json_text
from trainer.commands.terminal import result_console
from trainer.errors import ConfigError

FIELDS = (
    *("number", "state", "value", "params", "config", "scores", "best_epoch", "epochs", "seconds"),
    *("recipe", "failure", "environment"),
)


def trials(place: Place, *, as_json: bool) -> None:
    """Print a study's ended trials, as CSV or as JSON."""
    records = read_records(open_study_at(place))
    if as_json:
        print(json_text([_plain(record) for record in records]))
        return
    rows = [_flat(record) for record in records]
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(sys.stdout, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _plain(record: TrialRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS}


def _flat(record: TrialRecord) -> dict[str, Any]:
    row = _plain(record)
    params, scores = row.pop("params"), row.pop("scores")
    for key in ("config", "environment"):
        row.pop(key)
    flat: dict[str, Any] = row | params
    return flat | {f"validation_{k}": v for k, v in scores.items() if k != "epoch"}


def best(place: Place, *, as_json: bool) -> None:
    """Print a study's best trial."""
    opened = open_study_at(place)
    stored_definition(opened)  # what raretune did not search may be minimised, or have no best
    study = read_study(opened)
    record, ensemble = pick(study.trials, "best"), stored(opened, study.trials)
    test = None if ensemble is None or ensemble.test is None else ensemble.test.model_dump()
    certificate = kept(opened, record)
    is_there = place.best.exists() and not warn_of_another(place.best, opened, record)
    found = {
        "study": place.name,
        "number": record.number,
        "value": record.value,
        "params": record.params,
        "scores": record.scores,
        "best_epoch": record.best_epoch,
        "checkpoint": str(place.best) if is_there else None,
        "confirmed": [asdict(one) for one in study.confirmed],
        "ensemble": None if ensemble is None else to_json(ensemble, test, place.ensemble),
        "certificate": None if certificate is None else certificate.to_json(),
    }
    if as_json:
        print(json_text(found))
        return
    first = f"trial {record.number} of {place.name}: {record.value:.4f}"
    lines = [f"{first} in epoch {record.best_epoch}"]
    lines += [f"  {key} = {value}" for key, value in record.params.items()]
    if certificate is not None:
        lines.append(certificate.verdict)
    if study.confirmed:
        lines.append(confirmation(study.confirmed, record, in_words(study.objective)))
    if ensemble is not None:
        lines.append(recommendation(ensemble, place.best, place.ensemble))
    result_console().print(Text("\n".join(lines)), soft_wrap=True)


def warn_of_another(folder: Path, study: optuna.Study, record: TrialRecord) -> bool:
    """Say on stderr that a folder does not hold the best trial's checkpoint, if it does not."""
    wrong = misfit_of_folder(folder, study, record)
    if wrong:
        tell(
            f"{folder} is not trial {record.number}, the best one: {wrong}; the next "
            "search makes it again, and raretune export writes the trial elsewhere"
        )
    return bool(wrong)


def pick(records: Sequence[TrialRecord], trial: str) -> TrialRecord:
    """Return the trial of a number, or the best complete one for "best"; raises ConfigError."""
    if trial == "best":
        ranked = complete(records)
        if not ranked:
            raise ConfigError(
                "no trial of this study is complete yet; search on, or name one with --trial NUMBER"
            )
        return ranked[0]
    if not trial.isdecimal():
        raise ConfigError(f"--trial {trial!r} is neither a trial's number nor the word best")
    for record in records:
        if record.number == int(trial):
            return record
    ended = f"the ended ones are numbered up to {records[-1].number}" if records else "none has"
    raise ConfigError(f"no trial {int(trial)} has ended in this study; {ended}")
