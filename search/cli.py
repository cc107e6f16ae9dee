"""The `raretune` command. Results go to stdout, progress and errors to stderr.

Nothing heavy is imported here: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import Any

from search.commands.options import (
    Action,
    AsCsv,
    Bundled,
    Certify,
    Compare,
    CsvOutput,
    Definition,
    Example,
    Folder,
    Folds,
    Fork,
    Host,
    Moved,
    Name,
    Objective,
    Opened,
    Output,
    Page,
    Port,
    Pruner,
    Refit,
    Repair,
    Repeats,
    Rows,
    Sampler,
    Scored,
    Seed,
    Seeds,
    SeedsEach,
    SeedsOfBoth,
    Set,
    Size,
    Stack,
    Storage,
    Study,
    Table,
    TableSeed,
    TestSize,
    ThresholdMetric,
    Timeout,
    Top,
    Trial,
    Trials,
    ValSize,
    Workers,
)
from search.workspace import Place, Workspace
from trainer.commands.cli import COMMANDS
from trainer.commands.entry import make_app, run_app
from trainer.commands.options import Device, Drop, Group, Id, Json, Labels, Sequence
from trainer.commands.tables.options import (
    Category,
    Date,
    Decimal,
    Encoding,
    LabelsFrom,
    ListSeparator,
    Missing,
    Positive,
    Separator,
    Sheet,
    Strict,
    Thousands,
)
from trainer.errors import ConfigError

app = make_app("raretune", "Find the remedy for severe class imbalance that works on your table.")


RUNS = Path("runs")


@app.command()
def search(
    study: Definition = "default",
    csv: Table = None,
    label: Labels = None,
    group: Group = None,
    sequence: Sequence = None,
    drop: Drop = None,
    id_: Id = None,
    labels_from: LabelsFrom = None,
    list_separator: ListSeparator = None,
    positive: Positive = None,
    category: Category = None,
    date: Date = None,
    missing: Missing = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    separator: Separator = None,
    encoding: Encoding = None,
    sheet: Sheet = None,
    strict: Strict = False,
    val_size: ValSize = None,
    test_size: TestSize = None,
    folds: Folds = None,
    repeats: Repeats = None,
    objective: Objective = None,
    threshold_metric: ThresholdMetric = None,
    sampler: Sampler = None,
    pruner: Pruner = None,
    trials: Trials = None,
    timeout: Timeout = None,
    stack: Stack = None,
    workers: Workers = None,
    compare: Compare = None,
    seed: Seed = None,
    assignments: Set = None,
    storage: Storage = None,
    name: Name = None,
    fork: Fork = None,
    certify: Certify = None,
    workspace: Folder = RUNS,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Search for the remedy that works best on a table.

    Its best trial is exported to WORKSPACE/STUDY/best and scored once on the test rows; a report
    is written. The same command again goes on with the study. A TOML file, and some bundled
    studies, have other defaults than those named below.
    """
    if workers is not None and workers > 1:
        from search.waves.forkserver import warm_up

        warm_up()
    from search.commands.search import search as run

    table = {
        "csv": csv,
        "labels": label,
        "group": group,
        "sequence": sequence,
        "drop": drop,
        "id": id_,
        "labels_from": labels_from,
        "list_separator": list_separator,
        "positive": positive,
        "category": category,
        "date": date,
        "missing": missing,
        "decimal": decimal,
        "thousands": thousands,
        "separator": separator,
        "encoding": encoding,
        "sheet": sheet,
    }
    overrides: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "stack": stack,
        "workers": workers,
        "compare": compare,
        "table": table,
        "objective": objective,
        "sampler": sampler,
        "pruner": pruner,
        "split": {
            "val_size": val_size,
            "test_size": test_size,
            "folds": int(folds) if folds and folds.isdecimal() else folds,
            "repeats": repeats,
        },
        "training": {"threshold_metric": threshold_metric},
        "budget": {"trials": trials, "timeout_seconds": timeout},
    }
    run(
        study,
        overrides,
        assignments=assignments or [],
        fork_from=fork,
        certify=certify,
        workspace=Workspace(workspace),
        storage=storage,
        device=device,
        as_json=json,
        strict=strict,
    )


for command in COMMANDS:
    app.command()(command)


@app.command()
def retrain(
    study: Study,
    output: Output,
    trial: Trial = "best",
    refit: Refit = None,
    seeds: Seeds = 1,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train a trial again and compare it with what was stored.

    It trains alone, from the settings and the seed in the database, and it is said whether every
    bit came out the same.
    """
    from search.commands.retrain import retrain as run

    place = Place(study, Workspace(workspace), storage, csv, device)
    run(place, output, trial, refit_rows=refit, seeds=seeds, as_json=json)


@app.command()
def confirm(
    study: Study,
    top: Top = 5,
    seeds: SeedsEach = 5,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train the best trials again with new seeds.

    The best score of a search is partly luck. A mean over new seeds is not, and the trial with the
    best mean is named.
    """
    from search.commands.confirm import confirm as run

    place = Place(study, Workspace(workspace), storage, csv, device)
    run(place, top=top, seeds=seeds, as_json=json)


@app.command()
def ensemble(
    study: Study,
    size: Size = 25,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Choose the ensemble of a study's best trials again.

    It is chosen by the predictions of rows that were held out from training, and its checkpoint is
    WORKSPACE/STUDY/ensemble. Every search ends with one; here, trials whose predictions are not
    kept are trained again.
    """
    from search.commands.appraise import ensemble as run

    run(Place(study, Workspace(workspace), storage, csv, device), size=size, as_json=json)


@app.command()
def certify(
    study: Study,
    trial: Trial = "best",
    seeds: SeedsOfBoth = 3,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Say what each remedy of a trial is worth.

    The trial's settings are trained with new seeds, with each of its remedies and without, and
    their scores are compared on the rows held out. That of the best trial is shown by report and
    best from then on.
    """
    from search.commands.appraise import certify as run

    run(Place(study, Workspace(workspace), storage, csv, device), trial, seeds=seeds, as_json=json)


@app.command()
def export(
    study: Study,
    output: Output,
    trial: Trial = "best",
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
) -> None:
    """Write a trial's checkpoint to a folder."""
    from search.commands.export import export as run

    run(Place(study, Workspace(workspace), storage, csv, device), output, trial)


@app.command()
def trials(
    study: Study,
    csv: AsCsv = False,
    json: Json = False,
    workspace: Folder = RUNS,
    storage: Storage = None,
) -> None:
    """Print the trials of a study that have ended, one row each."""
    if csv and json:
        raise ConfigError("--csv and --json exclude each other; keep one")
    from search.commands.trials import trials as run

    run(Place(study, Workspace(workspace), storage), as_json=json)


@app.command()
def best(
    study: Study, json: Json = False, workspace: Folder = RUNS, storage: Storage = None
) -> None:
    """Print a study's best trial and its settings."""
    from search.commands.trials import best as run

    run(Place(study, Workspace(workspace), storage), as_json=json)


@app.command()
def report(
    study: Study,
    output: Page = None,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
) -> None:
    """Write a study as one HTML page.

    It says what was found, how sure that is and how to repeat it, and needs no network.
    """
    from search.commands.report import report as run

    run(Place(study, Workspace(workspace), storage, csv, device), output)


@app.command()
def dashboard(
    study: Opened = None,
    port: Port = 8080,
    host: Host = "127.0.0.1",
    workspace: Folder = RUNS,
    storage: Storage = None,
) -> None:
    """Show a workspace's studies in a browser.

    Serves optuna-dashboard until Ctrl-C, also while studies are being searched.
    """
    from search.dashboard.serve import dashboard as run

    run(study, workspace, storage, host=host, port=port)


@app.command()
def studies(
    action: Action = "list",
    name: Bundled = None,
) -> None:
    """List the bundled studies, or print one.

    What is printed is a whole definition in TOML: save it to a file to start one of your own from.
    """
    from search.commands.studies import studies as run

    run(action, name)


@app.command()
def doctor(
    repair: Repair = False,
    csv: Scored = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Check the database, the checkpoints, the disk and this machine."""
    from search.commands.doctor import doctor as run

    run(Workspace(workspace), storage, repair=repair, table=csv, as_json=json)


@app.command()
def example(
    table: Example,
    output: CsvOutput,
    rows: Rows = None,
    seed: TableSeed = 0,
) -> None:
    """Write a bundled example table to a CSV file."""
    from search.commands.studies import example as run

    run(table, output, rows=rows, seed=seed)


def main() -> None:
    """Run the `raretune` command."""
    run_app(app)
