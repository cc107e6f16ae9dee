"""`raretune ensemble` and `certify`: what a study's best trials are together, what remedies do."""

import shlex
import time

from rich.table import Table as Grid
from rich.text import Text

from search.appraisal.ablation import certify as certify_trial
from search.appraisal.ablation import removals
from search.appraisal.assemble import LEAST, make_ensemble
from search.appraisal.baselines import Comparison, difference_words
from search.appraisal.certificate import Certificate, interval_words, keep, told
from search.appraisal.ensemble import Ensemble, recommendation, to_json
from search.commands.retrain import MOST, check_count
from search.commands.trials import pick
from search.export import export_best
from search.reopen import reopen
from search.space.objective import in_words
from search.store.artifacts import Shelf
from search.store.records import TrialRecord, read_records
from search.workspace import Place
from trainer.checkpoint import json_text
from trainer.commands.device import one_thread
from trainer.commands.interrupt import interruptible
from trainer.commands.terminal import progress_console, result_console
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.wording import remedy

DEFAULT_TRIALS = 50
SECONDS = 5.0  # between two lines of progress


@one_thread()
def ensemble(place: Place, *, size: int, as_json: bool) -> None:
    """Make an ensemble of the best trials; those without kept predictions are trained again."""
    check_count("--size", size)
    study, session = reopen(place, writable=True)
    if session.definition.ensemble < LEAST:
        raise ConfigError(
            f"{place.name} was searched with ensemble = {session.definition.ensemble}, so that it "
            f"has none; search again with --set ensemble={DEFAULT_TRIALS}"
        )
    shelf = Shelf(study, session.shelf_folder, predictions=session.definition.ensemble)
    best = export_best(session, study, shelf)
    made = None
    if best is not None:
        made = make_ensemble(session, study, shelf, best, picks=size, again=True)
    if made is None:
        raise ConfigError(
            f"an ensemble needs two complete trials, and {place.name} has fewer; search on first"
        )
    found, record = made.ensemble, made.checkpoint.record
    if as_json:
        shown = to_json(found, record.test_as_handed_out, place.ensemble)
        print(json_text({"study": place.name, **shown}))
        return
    console = result_console()
    console.print(ensemble_grid(found))
    csv = "--csv NEW.csv --output predictions.csv"
    lines = [
        members(found),
        recommendation(found, place.best, place.ensemble),
        "",
        "Next:",
        f"  raretune predict {shlex.quote(str(place.ensemble))} {csv}",
    ]
    console.print(Text("\n".join(lines)), soft_wrap=True)


def members(found: Ensemble) -> str:
    """Say which trials an ensemble is of, and what each weighs."""
    pairs = zip(found.trials, found.weights, strict=True)
    listed = ", ".join(f"{number} ({weight:.0%})" for number, weight in pairs)
    return f"The ensemble is the weighted mean of trials {listed}."


def ensemble_grid(found: Ensemble) -> Grid:
    """Return the best trial and the ensemble side by side, as a table."""
    grid = Grid(
        title="Best trial and ensemble (validated on rows that chose neither)",
        title_justify="left",
    )
    grid.add_column("")
    for heading in ("validated macro-F1", "validated AP", "test macro-F1", "test AP"):
        grid.add_column(heading, justify="right")
    f1, precision = found.macro_f1, found.average_precision
    rows = (
        (f"trial {found.best}", f1.best, precision.best, found.best_test),
        (f"ensemble of {len(found.trials)}", f1.ensemble, precision.ensemble, found.test),
    )
    for name, *validated, test in rows:
        of_test = (None, None) if test is None else (test.macro_f1, test.average_precision)
        numbers = ["-" if one is None else f"{one:.4f}" for one in (*validated, *of_test)]
        grid.add_row(name, *numbers)
    return grid


@one_thread()
def certify(place: Place, trial: str, *, seeds: int, as_json: bool) -> None:
    """Train a trial's settings with each remedy and without, and print what each is worth."""
    if not 2 <= seeds <= MOST:
        raise ConfigError(f"--seeds must be from 2 to {MOST}, got {seeds}")
    study, session = reopen(place, writable=True)
    records = read_records(study)
    record = pick(records, trial)
    if record.epochs < 1:
        raise ConfigError(
            f"trial {record.number} never trained ({record.state}); name another one with --trial"
        )
    console, shown = progress_console(), time.monotonic()

    def show(ended: int, runs: int) -> None:
        nonlocal shown
        if ended == runs or time.monotonic() - shown >= SECONDS:
            shown = time.monotonic()
            console.print(Text(f"{place.name}: {ended}/{runs} runs trained"), soft_wrap=True)

    with interruptible() as interrupt:
        if removals(TrainConfig.create(**record.config)):
            console.print(Text(_announced(record, seeds)), soft_wrap=True)
        made = certify_trial(session, record, seeds=seeds, should_stop=interrupt, on_run=show)
    if record == pick(records, "best"):
        keep(study, record, made)
    if as_json:
        print(json_text(made.to_json()))
        return
    results = result_console()
    if made.remedies:
        results.print(_grid(made))
    results.print(Text(made.verdict), soft_wrap=True)


def _announced(record: TrialRecord, seeds: int) -> str:
    return (
        f"training the settings of trial {record.number} ({remedy(record.config)}) with {seeds} "
        "new seeds, and without each of its remedies"
    )


def _grid(certificate: Certificate) -> Grid:
    title = (
        f"Trial {certificate.trial} with each remedy and without, over {certificate.seeds} seeds"
    )
    grid = Grid(title=Text(title), title_justify="left")
    for heading in ("remedy", in_words(certificate.objective), "95 % interval", "verdict"):
        grid.add_column(heading)
    for one in certificate.remedies:
        grid.add_row(one.remedy, f"{one.difference:+.4f}", interval_words(one), told(one))
    return grid


def baselines_grid(comparison: Comparison) -> Grid:
    """Return what was found, then ordinary models, best first, as a table."""
    title = "Macro-F1 of ordinary models on the same folds and test rows"
    grid = Grid(title=title, title_justify="left")
    grid.add_column("model")
    finds = comparison.found
    ahead = [f"validated, ahead of {name}" for name in finds]
    for heading in ("validated", "test", "test AP", *ahead):
        grid.add_column(heading, justify="right")
    for name, found in finds.items():
        row = f"{found.validated:.4f}", _known(found.test), _known(found.test_ap)
        grid.add_row(name, *row, *[""] * len(finds))
    for name, (validation, one) in comparison.scored.items():
        test = (one.test.macro_f1, one.test.macro_average_precision) if one.test else (None, None)
        words = [difference_words(one.difference[find]) for find in finds]
        grid.add_row(name, f"{validation.macro_f1:.4f}", *map(_known, test), *words)
    return grid


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
