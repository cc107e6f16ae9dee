"""The `raretune` command. Results go to stdout, progress and errors to stderr.

Nothing heavy is imported here: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from trainer.cli import (
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

app = make_app("raretune", "Find the remedy for severe class imbalance that works on your table.")


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
        float | None,
        flag("test_size", "Share of rows locked for test; 0: none."),
    ] = None,
    trials: Annotated[int | None, flag("trials", "Trials of the study in all.")] = None,
    timeout: Annotated[float | None, flag("timeout", "Seconds after which to end.")] = None,
    stack: Annotated[int | None, flag("stack", "Trials trained as one batched program.")] = None,
    seed: Annotated[int | None, flag("seed", "Seed of split, search, trials.")] = None,
    storage: Annotated[
        str | None, flag("storage", "Database URL; WORKSPACE/studies.db by default.")
    ] = None,
    name: Annotated[str | None, flag("name", "Name of the study.")] = None,
    workspace: Annotated[Path, flag("workspace", "Folder for studies and checkpoints.")] = Path(
        "runs"
    ),
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Search for the best remedy, export the best trial, look at the test rows once."""
    from search.commands import search as run

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
        "table": table,
        "split": {"val_size": val_size, "test_size": test_size},
        "budget": {"trials": trials, "timeout_seconds": timeout},
    }
    run(study, overrides, workspace=workspace, storage=storage, device=device, as_json=json)


for command in COMMANDS:
    app.command()(command)


@app.command()
def example(
    table: Annotated[str, typer.Argument(help="nafld (real) or mesa (synthetic).")],
    output: Annotated[Path, flag("output", "CSV to write.")],
    rows: Annotated[int | None, flag("rows", "Rows of the synthetic table.")] = None,
    seed: Annotated[int, flag("seed", "Seed of the synthetic table.")] = 0,
) -> None:
    """Write a bundled example table."""
    from search.commands import example as run

    run(table, output, rows=rows, seed=seed)


def main() -> None:
    """Run the `raretune` command."""
    run_app(app)
