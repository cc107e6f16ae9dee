"""The `raretune` command. Results go to stdout, progress and errors to stderr.

Nothing heavy is imported here: a command imports what it needs when it runs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="raretune",
    help="Find the remedy for severe class imbalance that works on your table.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Csv = Annotated[Path | None, typer.Option("--csv", help="Table: .csv, .csv.gz or .parquet.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="0/1 column to predict; repeat.")]
Group = Annotated[
    str | None, typer.Option("--group", help="Column whose equal rows stay in one part.")
]
Sequence = Annotated[str | None, typer.Option("--sequence", help="Column of digit strings.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="Column to leave out; repeat.")]
Id = Annotated[list[str] | None, typer.Option("--id", help="Column that names a row; repeat.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]


@app.command()
def search(
    study: Annotated[
        str, typer.Argument(help="Bundled study or TOML file; default suits any --csv.")
    ] = "default",
    csv: Csv = None,
    label: Labels = None,
    group: Group = None,
    sequence: Sequence = None,
    drop: Drop = None,
    id_: Id = None,
    val_size: Annotated[
        float | None, typer.Option("--val_size", "--val-size", help="Share of rows to validate on.")
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option("--test_size", "--test-size", help="Share of rows locked for test; 0: none."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Trials of the study in all.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds after which to end.")
    ] = None,
    stack: Annotated[
        int | None, typer.Option("--stack", help="Trials trained as one batched program.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of split, search, trials.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="Database URL; WORKSPACE/studies.db by default.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the study.")] = None,
    workspace: Annotated[
        Path, typer.Option("--workspace", help="Folder for studies and checkpoints.")
    ] = Path("runs"),
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


@app.command()
def predict(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    csv: Annotated[Path, typer.Option("--csv", help="Table: .csv, .csv.gz or .parquet.")],
    output: Annotated[Path, typer.Option("--output", help="CSV to write.")],
    id_: Id = None,
) -> None:
    """Write each row's probability and decision for every label."""
    from search.commands import predict as run

    run(checkpoint, csv, output, id_)


@app.command()
def example(
    table: Annotated[str, typer.Argument(help="nafld (real) or mesa (synthetic).")],
    output: Annotated[Path, typer.Option("--output", help="CSV to write.")],
    rows: Annotated[int | None, typer.Option("--rows", help="Rows of the synthetic table.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the synthetic table.")] = 0,
) -> None:
    """Write a bundled example table."""
    from search.commands import example as run

    run(table, output, rows=rows, seed=seed)


def main() -> None:
    """Run the command line; every error a user can cause is one line and exit status 2."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from trainer.errors import RaretuneError

    try:
        status = app(standalone_mode=False)
    except RaretuneError as error:
        _fail(str(error), 2)
    except typer.TyperException as error:
        _fail(f"{error.format_message()} (see --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped at once; the same command again goes on with the study", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    print(f"raretune: {message}", file=sys.stderr)
    sys.exit(status)
