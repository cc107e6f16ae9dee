"""`raretune export`: a trial's checkpoint, written to a folder."""

from pathlib import Path

from search.commands.trials import pick
from search.export import checkpoint_of
from search.reopen import reopen
from search.store.artifacts import Shelf
from search.store.records import read_records
from search.workspace import Place
from trainer.checkpoint import check_replaceable, save_checkpoint
from trainer.commands.device import one_thread


@one_thread()
def export(place: Place, output: Path, trial: str) -> None:
    """Write a trial's checkpoint: the one kept, or trained again to the same bits."""
    check_replaceable(output)
    study, session = reopen(place)
    record = pick(read_records(study), trial)
    shelf = Shelf(study, session.shelf_folder)
    save_checkpoint(output, checkpoint_of(session, study, shelf, record))
    print(f"trial {record.number} of {place.name} written to {output}")
