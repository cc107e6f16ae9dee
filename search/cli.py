"""The `raretune` command. Results go to stdout, progress and errors to stderr.

Nothing heavy is imported here: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.workspace import Place, Workspace
from trainer.commands.cli import (
    COMMANDS,
    Device,
    Drop,
    Group,
    Id,
    Json,
    Labels,
    Sequence,
    flag,
    make_app,
    run_app,
)
from trainer.errors import ConfigError

app = make_app("raretune", "Find the remedy for severe class imbalance that works on your table.")


Folder = Annotated[Path, flag("workspace", "Folder for studies and checkpoints; runs.")]
Storage = Annotated[str | None, flag("storage", "Database URL; WORKSPACE/studies.db by default.")]
Study = Annotated[str, typer.Argument(help="Name of the study.")]
Trial = Annotated[int | None, flag("trial", "Number of the trial; the best by default.")]
Output = Annotated[Path, flag("output", "Folder for the checkpoint.")]
Moved = Annotated[Path | None, flag("csv", "Where the study's table is now, if it has moved.")]
RUNS = Path("runs")


@app.command()
def search(
    study: Annotated[
        str, typer.Argument(help="Bundled study or TOML file; default suits any --csv.")
    ] = "default",
    csv: Annotated[
        Path | None, flag("csv", "Table: .csv, .csv.gz or .parquet.", "--csv_path", "--csv-path")
    ] = None,
    label: Labels = None,
    group: Group = None,
    sequence: Sequence = None,
    drop: Drop = None,
    id_: Id = None,
    val_size: Annotated[float | None, flag("val_size", "Share of rows to validate on.")] = None,
    test_size: Annotated[
        float | None, flag("test_size", "Share of rows locked for test; 0: none.")
    ] = None,
    trials: Annotated[int | None, flag("trials", "Trials of the study in all.")] = None,
    timeout: Annotated[float | None, flag("timeout", "Seconds after which to end.")] = None,
    stack: Annotated[int | None, flag("stack", "Trials that train side by side.")] = None,
    workers: Annotated[int | None, flag("workers", "Processes that share the study.")] = None,
    seed: Annotated[int | None, flag("seed", "Seed of split, search and trials.")] = None,
    settings: Annotated[
        list[str] | None, flag("set", "KEY=VALUE of the definition, as space.lr.high=0.003.")
    ] = None,
    storage: Storage = None,
    name: Annotated[str | None, flag("name", "Name of the study.")] = None,
    fork: Annotated[
        str | None, flag("fork", "Begin with the trials of this study that fit the new space.")
    ] = None,
    workspace: Folder = RUNS,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Search for the best remedy, export the best trial, look at the test rows once."""
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
    }
    overrides: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "stack": stack,
        "workers": workers,
        "table": table,
        "split": {"val_size": val_size, "test_size": test_size},
        "budget": {"trials": trials, "timeout_seconds": timeout},
    }
    run(
        study,
        overrides,
        settings=settings or [],
        fork_from=fork,
        workspace=Workspace(workspace),
        storage=storage,
        device=device,
        as_json=json,
    )


for command in COMMANDS:
    app.command()(command)


@app.command()
def retrain(
    study: Study,
    output: Output,
    trial: Trial = None,
    refit: Annotated[
        str | None, flag("refit", "all: train on train and validation rows besides.")
    ] = None,
    seeds: Annotated[int, flag("seeds", "Repeat over so many fresh seeds.")] = 1,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train a trial alone and say whether it came out bit for bit the same."""
    from search.commands.retrain import retrain as run

    place = Place(study, Workspace(workspace), storage, csv, device)
    run(place, output, trial, refit_rows=refit, seeds=seeds, as_json=json)


@app.command()
def confirm(
    study: Study,
    top: Annotated[int, flag("top", "How many of the best trials.")] = 5,
    seeds: Annotated[int, flag("seeds", "How many fresh seeds each.")] = 5,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train the best trials over fresh seeds; the winner by the mean is no luck."""
    from search.commands.confirm import confirm as run

    place = Place(study, Workspace(workspace), storage, csv, device)
    run(place, top=top, seeds=seeds, as_json=json)


@app.command()
def export(
    study: Study,
    output: Output,
    trial: Trial = None,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
) -> None:
    """Write a trial's checkpoint."""
    from search.commands.export import export as run

    run(Place(study, Workspace(workspace), storage, csv, device), output, trial)


@app.command()
def trials(
    study: Study,
    csv: Annotated[bool, flag("csv", "Print CSV, as without any flag; not with --json.")] = False,
    json: Json = False,
    workspace: Folder = RUNS,
    storage: Storage = None,
) -> None:
    """Print a study's ended trials, one row each."""
    if csv and json:
        raise ConfigError("--csv and --json exclude each other; keep one")
    from search.commands.trials import trials as run

    run(Place(study, Workspace(workspace), storage), as_json=json)


@app.command()
def best(
    study: Study, json: Json = False, workspace: Folder = RUNS, storage: Storage = None
) -> None:
    """Print a study's best trial."""
    from search.commands.trials import best as run

    run(Place(study, Workspace(workspace), storage), as_json=json)


@app.command()
def report(
    study: Study,
    output: Annotated[
        Path | None, flag("output", "Page to write; WORKSPACE/STUDY/report.html by default.")
    ] = None,
    csv: Moved = None,
    workspace: Folder = RUNS,
    storage: Storage = None,
    device: Device = "auto",
) -> None:
    """Write a study as one HTML page: what was found, how sure that is, how to repeat it."""
    from search.commands.report import report as run

    run(Place(study, Workspace(workspace), storage, csv, device), output)


@app.command()
def dashboard(
    study: Annotated[str | None, typer.Argument(help="Study to show; all by default.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8080,
    host: Annotated[str, flag("host", "Address to serve at; 127.0.0.1, this machine only.")] = (
        "127.0.0.1"
    ),
    workspace: Folder = RUNS,
    storage: Storage = None,
) -> None:
    """Serve optuna-dashboard over the workspace's studies, also while they are searched."""
    from search.dashboard.serve import dashboard as run

    run(study, workspace, storage, host=host, port=port)


@app.command()
def studies(
    action: Annotated[str, typer.Argument(help="list, or show NAME.")] = "list",
    name: Annotated[str | None, typer.Argument(help="Bundled study.")] = None,
) -> None:
    """List the bundled studies, or print one as a starting point."""
    from search.commands.studies import studies as run

    run(action, name)


@app.command()
def doctor(
    repair: Annotated[bool, flag("repair", "Fail and retry the trials of dead processes.")] = False,
    workspace: Folder = RUNS,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Check database, trials, checkpoints and versions."""
    from search.commands.doctor import doctor as run

    run(Workspace(workspace), storage, repair=repair, as_json=json)


@app.command()
def example(
    table: Annotated[str, typer.Argument(help="nafld (real) or mesa (synthetic).")],
    output: Annotated[Path, flag("output", "CSV to write.")],
    rows: Annotated[int | None, flag("rows", "Rows of the synthetic table.")] = None,
    seed: Annotated[int, flag("seed", "Seed of the synthetic table.")] = 0,
) -> None:
    """Write a bundled example table."""
    from search.commands.studies import example as run

    run(table, output, rows=rows, seed=seed)


def main() -> None:
    """Run the `raretune` command."""
    run_app(app)
