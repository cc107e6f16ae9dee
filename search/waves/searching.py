"""A session's study, searched in this process: study -> Search -> shelf."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import optuna

from search.session import Session
from search.space.strategy import make_pruner, make_sampler
from search.store.artifacts import Shelf
from search.store.attributes import DEFINITION
from search.store.complaints import quiet
from search.store.stale import reap
from search.store.storage import open_storage, open_study, while_it_exists
from search.waves.environment import environment
from search.waves.optimize import Search, enqueue_recipes
from search.waves.progress import Progress
from studies.definition import StudyDefinition
from trainer.loop.fit import TrainResult

PATIENCE_SECONDS = 300.0  # for which a search waits for a server that is away


@quiet()
def open_session_study(session: Session, worker: int = 0) -> optuna.Study:
    """Create or continue the session's study; each worker draws from a stream of its own."""
    definition, table = session.definition, session.experiment.table
    study = open_study(
        open_storage(session.url, patience=PATIENCE_SECONDS),
        definition.name,
        definition.fingerprint(table.hash, table.converted),
        pruner=make_pruner(definition),
    )
    study.sampler = make_sampler(definition, len(study.get_trials(deepcopy=False)) + 7919 * worker)
    return study


@quiet()
def search_study(
    session: Session,
    *,
    worker: int = 0,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Search the session's study in this process, keeping the best trials' checkpoints."""
    study = open_session_study(session, worker)
    session = session.of(study)
    kept = session.definition.ensemble
    shelf = Shelf(study, session.shelf_folder, predictions=kept, tells=worker == 0)

    def keep(number: int, value: float, result: TrainResult) -> None:
        held_out = session.held_out(number, value, result) if kept else None
        shelf.keep(number, session.checkpoint(number, value, result), held_out)

    search = Search(
        study,
        session.experiment.data,
        session.definition,
        environment={**environment(), **_data(session)},
        should_stop=should_stop,
        on_progress=on_progress,
        on_result=keep,
    )
    with while_it_exists(study):
        return search.run()


def _data(session: Session) -> dict[str, str]:
    """Return which table and which split of it a trial trained on."""
    split = ", ".join(
        f"{key} {value}" for key, value in asdict(session.experiment.settings).items()
    )
    return {"table": session.experiment.table.hash, "split": split}


@quiet()
def begin(session: Session) -> optuna.Study:
    """Create or continue the session's study before any worker does; clean up after dead ones."""
    study = open_session_study(session)
    study.set_metric_names([session.definition.objective])
    study.set_user_attr(DEFINITION, _stored(session.definition))
    reap(study)
    enqueue_recipes(study, session.definition)
    return study


def _stored(definition: StudyDefinition) -> dict[str, Any]:
    """Return a definition as JSON types, its table found from any folder and no URL in it."""
    table = definition.table
    if table.csv is not None:
        table = table.model_copy(update={"csv": table.csv.resolve()})
    kept = definition.model_copy(update={"table": table, "storage": ""})
    return kept.model_dump(mode="json")
