"""What may be wrong with a workspace, its database and this machine, and what helps."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy import text

from search.reopen import reopen
from search.session import Session
from search.store import tables
from search.store.artifacts import Shelf
from search.store.complaints import RECOVER, explained, without_password
from search.store.filesystem import network_file_system
from search.store.identity import Origin, misfit, misfit_of_ensemble, origin_of, origin_of_number
from search.store.records import TrialRecord, read_records
from search.store.stale import reap, stale
from search.store.storage import MEMORY, open_storage, storage_file
from search.verification import fault, fault_of_ensemble
from search.workspace import Place, Workspace
from trainer.checkpoint import Checkpoint, library_versions, load_checkpoint, other_thresholds
from trainer.errors import CheckpointError, ConfigError, RaretuneError
from trainer.steps.compiler import build, without_compiler

AGAIN = "run the same search again, which trains the best trial again"
ENSEMBLE_AGAIN = "make it again with raretune ensemble"
LOW_BYTES, SCARCE_BYTES = 2 * 10**9, 2 * 10**8


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and what helps unless it is fine."""

    level: Literal["ok", "warning", "error"]
    what: str
    remedy: str = ""


def examine(
    url: str, workspace: Path, *, repair: bool = False, table: Path | None = None
) -> list[Finding]:
    """Look at the database, its studies, their checkpoints, the disk and the machine.

    Makes nothing that is not there. `repair` fails the trials of dead processes, as
    search.store.stale does. With a `table`, every kept checkpoint of the studies that were searched
    on it is scored.
    """
    return [
        *_database(url, workspace, repair=repair, table=table),
        *_disk(workspace),
        *_machine(),
    ]


def _database(url: str, workspace: Path, *, repair: bool, table: Path | None) -> Iterator[Finding]:
    try:
        file = storage_file(url)
        if url == MEMORY or (file is not None and not file.exists()):
            yield Finding("ok", f"no database at {without_password(url)} yet; a search makes it")
            return
        yield from _tables()
        storage = open_storage(url, writable=repair)
        yield Finding("ok", f"database {without_password(url)} opens, its schema fits Optuna's")
        if file is not None and isinstance(storage, RDBStorage):
            yield from _sqlite(storage, url, file)
        with explained(url):
            for name in optuna.get_all_study_names(storage):
                if not isinstance(name, str):  # SQLite takes any value in any column
                    yield Finding("error", f"a study's name is {name!r}, which is no text", RECOVER)
                    continue
                place = Place(name, Workspace(workspace), url, table, device="cpu")
                yield from _study(storage, place, repair=repair)
    except ConfigError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield Finding("error", what, remedy)


def _tables() -> Iterator[Finding]:
    if not tables.are_known():
        yield Finding(
            "warning",
            f"raretune does not know the tables of Optuna {optuna.__version__} and goes through "
            "Optuna's own calls, which are slower",
            'to search at full speed, install the Optuna it knows: pip install "optuna==5.0.*"',
        )


def _sqlite(storage: RDBStorage, url: str, file: Path) -> Iterator[Finding]:
    with explained(url), storage.engine.connect() as connection:
        mode = connection.scalar(text("PRAGMA journal_mode"))
        faults = list(connection.scalars(text("PRAGMA quick_check")))
    if mode == "wal" or _is_kept_in_wal(file):
        yield Finding("ok", "readers and a writer work at once (WAL)")
    else:
        yield Finding(
            "error",
            f"SQLite runs in mode {mode!r}, so that a dashboard blocks a search",
            "close all programs that use the file, then run this again",
        )
    if faults == ["ok"]:
        yield Finding("ok", "SQLite finds the file whole")
    else:
        yield Finding(
            "error",
            f"the file is damaged: {str(faults[0])[:200]}",
            RECOVER,
        )


def _is_kept_in_wal(file: Path) -> bool:
    """Whether a database is in WAL mode, which SQLite does not say where it opens one without log.

    Source: sqlite.org/fileformat2.html, the file format version numbers in the header.
    """
    with file.open("rb") as opened:
        return opened.read(20)[18:] == b"\x02\x02"


def _study(storage: BaseStorage, place: Place, *, repair: bool) -> Iterator[Finding]:
    name = place.name
    study = optuna.load_study(study_name=name, storage=storage)
    if repair:
        numbers = reap(study)
        if numbers:
            lost = ", ".join(map(str, numbers))
            yield Finding("ok", f"study {name!r}: lost trials {lost} are failed, to be retried")
    lost_trials = stale(study)
    if lost_trials:
        yield Finding(
            "warning",
            f"study {name!r}: {len(lost_trials)} trials are marked as running, but "
            "their process has died",
            "run raretune doctor --repair, or go on with the search",
        )
    yield from _checkpoint(study, place.best)
    yield from _ensemble(study, place.ensemble)
    if place.table is not None:
        yield from _scored(study, place)


def _checkpoint(study: optuna.Study, best: Path) -> Iterator[Finding]:
    name = study.study_name
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not best.exists():
        if complete:
            yield Finding("warning", f"study {name!r} has trials but no checkpoint {best}", AGAIN)
        return
    try:
        checkpoint = load_checkpoint(best)
    except CheckpointError as error:
        yield Finding("error", str(error), AGAIN)
        return
    trial: dict[str, Any] = dict(checkpoint.record.trial or {})
    number = trial.get("number")
    if number not in {t.number for t in complete}:
        yield Finding("error", f"{best} holds no complete trial of study {name!r}", AGAIN)
        return
    if wrong := misfit(checkpoint.record, number, origin_of_number(study, number)):
        yield Finding("error", f"{best} is not of study {name!r} as it is: {wrong}", AGAIN)
        return
    yield Finding("ok", f"study {name!r}: {best} opens and is trial {number}")
    if told := other_thresholds(best, checkpoint.record):
        what, _, remedy = told.rpartition("; ")
        yield Finding("warning", what, remedy)
    yield from _versions(best, checkpoint)


def _ensemble(study: optuna.Study, folder: Path) -> Iterator[Finding]:
    """Look at what an ensemble's checkpoint says of itself."""
    if not folder.exists():
        return
    try:
        record = load_checkpoint(folder).record
        wrong = misfit_of_ensemble(record, _origins(study))
    except CheckpointError as error:
        yield Finding("error", str(error), ENSEMBLE_AGAIN)
        return
    name = study.study_name
    if wrong:
        told = f"{folder} is not of study {name!r} as it is: {wrong}"
        yield Finding("error", told, ENSEMBLE_AGAIN)
        return
    members = len(record.members)
    yield Finding("ok", f"study {name!r}: {folder} opens and is an ensemble of {members} trials")


def _origins(study: optuna.Study) -> dict[int, Origin]:
    """Return what the database says of each complete trial, by its number."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {trial.number: origin_of_number(study, trial.number) for trial in done}


def _scored(study: optuna.Study, place: Place) -> Iterator[Finding]:
    """Score every kept checkpoint of a study that was searched on a table."""
    try:
        _, session = reopen(place)
        records = {record.number: record for record in read_records(study)}
    except RaretuneError as error:
        what = f"study {place.name!r}: its checkpoints are not scored: {error}"
        yield Finding("warning", what, "name the table that it was searched on with --csv")
        return
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    shelf, right = Shelf(study, session.shelf_folder), 0
    again = f"raretune export {shlex.quote(place.name)} --output FOLDER --trial"
    kept: dict[str, tuple[Callable[[], Checkpoint | None], int | None, str]]
    kept = {
        f"the kept checkpoint of trial {n}": (
            partial(shelf.fetch, trials[n]),
            n,
            f"it is not used: train the trial again, and replace it, with {again} {n}",
        )
        for n in records
    }
    for folder, remedy in ((place.best, AGAIN), (place.ensemble, ENSEMBLE_AGAIN)):
        if folder.exists():
            kept[str(folder)] = partial(load_checkpoint, folder), None, remedy
    for what, (fetch, number, remedy) in kept.items():
        try:
            checkpoint = fetch()
            if checkpoint is None:
                continue
            if what == str(place.ensemble):
                wrong = fault_of_ensemble(checkpoint, session, records, _origins(study))
            else:
                wrong = _fault(checkpoint, session, study, records, number)
        except CheckpointError as error:
            wrong = str(error)
        right += not wrong
        if wrong:
            yield Finding("error", f"study {place.name!r}: {what} is wrong: {wrong}", remedy)
    words = f"study {place.name!r}: {right} kept checkpoints score as the study says"
    yield Finding("ok", words)


def _fault(
    checkpoint: Checkpoint,
    session: Session,
    study: optuna.Study,
    records: Mapping[int, TrialRecord],
    number: int | None,
) -> str:
    """Say why a checkpoint is not that of a trial, by default the one it names; "" if it is."""
    if number is None:
        number = int((checkpoint.record.trial or {}).get("number", -1))
    if number not in records:
        return f"trial {number} has not ended"
    return fault(checkpoint, session, records[number], origin_of(study, records[number]))


def _versions(best: Path, checkpoint: Checkpoint) -> Iterator[Finding]:
    changes = _changed(checkpoint.record.versions, library_versions())
    if changes:
        yield Finding(
            "warning",
            f"{best} was made with other versions: {'; '.join(changes)}",
            "a retrain may differ in its last digits; to avoid that, install the old ones",
        )


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        f"{key} {old[key]}, now {new[key]}" for key in new if old.get(key, new[key]) != new[key]
    ]


def _disk(workspace: Path) -> Iterator[Finding]:
    there = next(p for p in (workspace.resolve(), *workspace.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    what = f"{free / 1e9:.1f} GB free at {there}"
    if free < SCARCE_BYTES:
        yield Finding("error", what, "free disk space, or name another --workspace")
    elif free < LOW_BYTES:
        yield Finding("warning", what, "free disk space before a long search")
    else:
        yield Finding("ok", what)
    kind = network_file_system(there)
    if kind is not None:
        yield Finding(
            "warning",
            f"workspace {there} is on a network file system ({kind}), unfit for SQLite",
            "name a local --workspace, or --storage journal:///FILE or postgresql://...",
        )


def _machine() -> Iterator[Finding]:
    threads = os.environ.get("OMP_NUM_THREADS")
    what = (
        f"torch {torch.__version__}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads or 'unset'}"
    )
    if threads in (None, "1"):
        yield Finding("ok", what)
    else:
        yield Finding("warning", what, "set OMP_NUM_THREADS=1: the small networks train no faster")
    if build().library is None:
        yield Finding("warning", *without_compiler())
    elif build().unkept:
        yield Finding(
            "warning",
            f"trains in C: {build().how}, but every process compiles it again: {build().unkept}",
            "point XDG_CACHE_HOME to a folder that you alone can write to",
        )
    else:
        yield Finding("ok", f"trains in C: {build().how}")
    if torch.cuda.is_available():
        yield Finding("ok", f"CUDA: {torch.cuda.get_device_name(0)}")
    else:
        yield Finding("ok", "no CUDA device; trains on the CPU")
