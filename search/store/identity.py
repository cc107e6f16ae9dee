"""Whose a thing is that is kept outside the database, or beside the trials in it.

A name and a number can be given again: a study that was removed leaves its checkpoints behind, and
the next one of that name takes them for its own. Two things can't: the UUID that a study gets when
it is made, and a digest of what a trial is.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from search.store.attributes import CONFIG, IDENTITY
from search.store.records import TrialRecord, read_fingerprint
from trainer.checkpoint import Record, load_checkpoint
from trainer.config import TrainConfig
from trainer.errors import CheckpointError, ConfigError

SIZES = ("val_size", "test_size", "seed", "folds", "repeats")  # what decides a split


class Origin(NamedTuple):
    """A study's UUID, None in one that no version which gives them has searched; a trial's digest.

    The digest is of config, split, table and value.
    """

    study_id: str | None
    digest: str


def identify(study: optuna.Study) -> None:
    """Give a study its UUID if it has none."""
    if identity_of(study) is None:
        study.set_user_attr(IDENTITY, str(uuid.uuid4()))


def identity_of(study: optuna.Study) -> str | None:
    """Return a study's UUID; None if no version which gives them has searched it."""
    found = study.user_attrs.get(IDENTITY)
    return found if isinstance(found, str) else None


def origin_of(study: optuna.Study, record: TrialRecord) -> Origin:
    """Return what a thing must carry to be of this trial, as the database says."""
    return _origin(study, record.config, record.value)


def origin_of_number(study: optuna.Study, number: int) -> Origin:
    """Return `origin_of` the trial of a number, whatever its state, also if there is none."""
    found = [trial for trial in study.get_trials(deepcopy=False) if trial.number == number]
    config = found[0].user_attrs.get(CONFIG) if found else None
    value = found[0].values[0] if found and found[0].values else None
    return _origin(study, config if isinstance(config, Mapping) else {}, value)


def _origin(study: optuna.Study, config: Mapping[str, Any], value: float | None) -> Origin:
    fingerprint = read_fingerprint(study) or {}
    split = {**fingerprint.get("split", {}), "seed": fingerprint.get("seed")}
    table = fingerprint.get("table", {}).get("sha256")
    return Origin(identity_of(study), trial_digest(config, split, table, value))


def trial_digest(
    config: Mapping[str, Any], split: Mapping[str, Any], table: str | None, value: float | None
) -> str:
    """Return the SHA-256 of what a trial is: its config, split, table and value.

    `split` has what SplitSettings has and may lack what is 1 by default, as in earlier versions;
    `table` is the table's own SHA-256.
    """
    whole = {
        "config": _whole(config),
        "split": {key: split.get(key, 1) for key in SIZES},
        "table": table,
        "value": None if value is None else float(value),
    }
    return digest_of(whole)


def digest_of(content: object) -> str:
    """Return the SHA-256 of what is kept as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _whole(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config with all its settings: one that an earlier version wrote may lack some."""
    try:
        return TrainConfig.create(**config).model_dump(mode="json")
    except ConfigError:
        return config


def misfit(kept: Record, number: int, origin: Origin) -> str:
    """Say why a checkpoint's record is not of a study's trial; "" if it is.

    One of an earlier version has no UUID. It is known by what it says of itself alone.
    """
    return _misfit(kept, dict(kept.trial or {}), kept.config, number, origin)


def misfit_of_ensemble(kept: Record, origins: Mapping[int, Origin]) -> str:
    """Say why an ensemble's record is not of a study's trials; "" if it is.

    `origins` are those of the study's complete trials by their numbers.
    """
    if not kept.members:
        return "it is no ensemble"
    for member in kept.members:
        number = member["trial"]["number"]
        if number not in origins:
            return f"the study has no complete trial {number}"
        trial = dict(member["trial"])
        if found := _misfit(kept, trial, member["config"], number, origins[number]):
            return found
    return ""


def _misfit(
    kept: Record, trial: dict[str, Any], config: TrainConfig, number: int, origin: Origin
) -> str:
    """Say why what a record tells of a trial is not of the study's; "" if it is."""
    known = trial.get("study_id")
    if known is not None and known != origin.study_id:
        return "it is of another study, which had the same name"
    if trial.get("number") != number:
        return f"it is not of trial {number}"
    if "refit" in trial:
        return f"it is not trial {number} as it was searched, but trained again on more rows"
    own = trial_digest(
        config.model_dump(mode="json"), dict(kept.split), kept.table["sha256"], trial.get("value")
    )
    if own != origin.digest or trial.get("digest", own) != own:
        return f"its settings, split, table or value are not those of trial {number}"
    return ""


def misfit_of_folder(folder: Path, study: optuna.Study, record: TrialRecord) -> str:
    """Say why the checkpoint in a folder is not of a trial by what it says of itself; "" if it is.

    Its networks are not asked.
    """
    try:
        checkpoint = load_checkpoint(folder)
    except CheckpointError as error:
        return str(error)
    return misfit(checkpoint.record, record.number, origin_of(study, record))
