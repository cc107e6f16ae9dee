"""`raretune export`: a trial's checkpoint, written to a folder."""

from contextlib import suppress
from pathlib import Path

from search.commands.trials import pick
from search.export import checkpoint_of
from search.reopen import open_study_at, reopen
from search.store.artifacts import Shelf
from search.store.records import read_records
from search.workspace import Place
from trainer.checkpoint import Checkpoint, check_replaceable, save_checkpoint
from trainer.commands.device import one_thread
from trainer.errors import RaretuneError


@one_thread()
def export(place: Place, output: Path, trial: str) -> None:
    """Write a trial's checkpoint: the one kept, or trained again to the same bits.

    A kept one that is not as the study says is replaced.
    """
    check_replaceable(output)
    study, session = reopen(place)
    record = pick(read_records(study), trial)
    shelf = Shelf(study, session.shelf_folder)

    def replace_kept(made: Checkpoint) -> None:
        with suppress(RaretuneError):  # who may only read leaves it, which does no harm
            writable = open_study_at(place, writable=True)
            Shelf(writable, session.shelf_folder).keep(record.number, made)

    save_checkpoint(output, checkpoint_of(session, study, shelf, record, replace_kept))
    print(f"trial {record.number} of {place.name} written to {output}")
