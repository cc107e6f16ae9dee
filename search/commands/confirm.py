"""`raretune confirm`: the best trials over new seeds, and the winner by the mean."""

import shlex
from collections.abc import Sequence

from rich.table import Table as Grid
from rich.text import Text

from search.commands.retrain import check_count, seeds_json
from search.dashboard.notes import location_options
from search.reopen import reopen
from search.retrain import OverSeeds, over_seeds
from search.session import Session
from search.space.objective import in_words
from search.store.attributes import CONFIRMED
from search.store.records import complete, read_records
from search.workspace import Place
from trainer.checkpoint import json_text
from trainer.commands.device import one_thread
from trainer.commands.terminal import result_console
from trainer.errors import ConfigError


@one_thread()
def confirm(place: Place, *, top: int, seeds: int, as_json: bool) -> None:
    """Train the best trials over new seeds and name the winner by the mean."""
    check_count("--top", top)
    check_count("--seeds", seeds)
    study, session = reopen(place, writable=True)
    leaders = complete(read_records(study))[:top]
    if not leaders:
        raise ConfigError(f"no trial of {place.name} is complete yet; search on first")
    found = over_seeds(session, leaders, seeds)
    study.set_user_attr(CONFIRMED, [seeds_json(one) for one in found])
    if as_json:
        print(json_text({"winner": found[0].number, "trials": [seeds_json(one) for one in found]}))
        return
    console = result_console()
    console.print(_confirmed(found, session))
    winner = found[0].number
    where = location_options(place.workspace.folder, place.url)
    again = f"raretune retrain {shlex.quote(place.name)} --trial {winner}{where}"
    lines = [
        f"Trial {winner} has the best mean over {seeds} new seeds. The best score of a search is "
        "partly luck, and a mean over new seeds is not.",
        "",
        "Next:",
        f"  {again} --output {shlex.quote(f'{place.name}-confirmed')}",
    ]
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _confirmed(found: Sequence[OverSeeds], session: Session) -> Grid:
    title = Text(f"Validated {in_words(session.definition.objective)} over new seeds")
    grid = Grid(title=title, title_justify="left")
    for heading in ("trial", "mean", "spread", "lowest", "highest", "searched"):
        grid.add_column(heading, justify="right")
    for one in found:
        numbers = (one.mean, one.spread, min(one.values), max(one.values), one.searched)
        shown = ("-" if number is None else f"{number:.4f}" for number in numbers)
        grid.add_row(str(one.number), *shown)
    return grid
