"""A study that exists, opened again: its records alone, or with its table as it was searched on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

from search.store.attributes import DEFINITION
from search.store.records import read_definition, read_fingerprint
from search.store.storage import differences, load_study, open_storage
from search.workspace import Place
from studies.definition import StudyDefinition
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from search.session import Session


def open_study_at(place: Place, *, writable: bool = False) -> optuna.Study:
    """Return a study that exists, to be read only by default; raises ConfigError."""
    if place.storage is None and not place.workspace.database.exists():
        raise ConfigError(
            f"no studies in workspace {place.workspace.folder}; name another with --workspace or "
            "--storage"
        )
    return load_study(open_storage(place.url, writable=writable), place.name)


def stored_definition(study: optuna.Study) -> StudyDefinition:
    """Return the definition that a study was searched with; raises ConfigError."""
    return read_definition(study.study_name, study.user_attrs.get(DEFINITION))


def reopen(place: Place, *, writable: bool = False) -> tuple[optuna.Study, Session]:
    """Return a study with its table prepared as when it was searched.

    Raises ConfigError if the table is another one.
    """
    from search.session import prepare  # all of torch's training

    study = open_study_at(place, writable=writable)
    definition = stored_definition(study)
    if place.table is not None:
        moved = definition.table.model_copy(update={"csv": place.table, "example": None})
        definition = definition.model_copy(update={"table": moved})
    session = prepare(definition, place.workspace, place.url, place.device)
    table = session.experiment.table
    fingerprint = definition.fingerprint(table.hash, table.converted)
    stored = read_fingerprint(study)
    if stored is None:
        raise ConfigError(f"study {place.name!r} was not searched by raretune; name another one")
    if stored.get("table", fingerprint["table"]).get("sha256") != fingerprint["table"]["sha256"]:
        raise ConfigError(
            f"{session.experiment.table.path} is not the table that study {place.name!r} was "
            "searched on; name that one with --csv"
        )
    if changes := "; ".join(differences(stored, fingerprint)):
        raise ConfigError(
            f"study {place.name!r} has another definition than its trials were searched with "
            f"({changes}); put a backup of the database in its place, or search again under "
            "another --name"
        )
    return study, session.of(study)
