"""The trainer's commands: train, evaluate, predict; part of `raretune`, and `python -m trainer`.

Every flag is spelled with underscores, as in the guide, or with hyphens. Nothing heavy is imported
here: a command imports what it needs when it runs.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from trainer.errors import RaretuneError


def flag(name: str, help_text: str, *more: str) -> Any:
    """Return an option spelled --its_name and --its-name."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}", *more))
    return typer.Option(*spellings, help=help_text, show_default=False)


Csv = Annotated[Path, flag("csv", "Table: .csv, .csv.gz or .parquet.", "--csv_path", "--csv-path")]
Labels = Annotated[list[str] | None, flag("label", "0/1 column to predict; repeat.")]
Group = Annotated[str | None, flag("group", "Column whose equal rows stay in one part.")]
Sequence = Annotated[str | None, flag("sequence", "Column of digit strings.")]
Drop = Annotated[list[str] | None, flag("drop", "Column to leave out; repeat.")]
Id = Annotated[list[str] | None, flag("id", "Column that names a row; repeat.")]
Device = Annotated[str, flag("device", "auto, cpu or cuda.")]
Json = Annotated[bool, flag("json", "Print one JSON object to stdout.")]


def train(
    csv_path: Annotated[
        Path | None,
        flag("csv_path", "Table: .csv, .csv.gz or .parquet.", "--csv"),
    ] = None,
    output_dir: Annotated[
        Path | None, flag("output_dir", "Folder for the checkpoint; runs/train by default.")
    ] = None,
    label: Labels = None,
    group: Group = None,
    sequence: Sequence = None,
    drop: Drop = None,
    id_: Id = None,
    use_stratified_split: Annotated[
        bool, flag("use_stratified_split", "Accepted for the guide's sake: every split is.")
    ] = True,
    use_weighted_sampling: Annotated[
        bool, flag("use_weighted_sampling", "Draw rows by weight, with replacement.")
    ] = False,
    weight_method: Annotated[
        str | None,
        flag("weight_method", "balanced, inverse, inverse_sqrt, aggressive or per_class."),
    ] = None,
    loss_type: Annotated[str | None, flag("loss_type", "bce, weighted_bce or focal.")] = None,
    focal_gamma: Annotated[float | None, flag("focal_gamma", "Focusing exponent, >= 0.")] = None,
    class_weight_method: Annotated[
        str | None,
        flag("class_weight_method", "none, balanced, inverse, aggressive or very_aggressive."),
    ] = None,
    class_weight_multiplier: Annotated[
        float | None, flag("class_weight_multiplier", "Times the class weights.")
    ] = None,
    label_smoothing: Annotated[
        float | None, flag("label_smoothing", "Share of a target given away, in [0, 1).")
    ] = None,
    optimize_thresholds: Annotated[
        bool, flag("optimize_thresholds", "Find each label's best threshold; otherwise 0.5.")
    ] = False,
    threshold_metric: Annotated[
        str | None,
        flag(
            "threshold_metric",
            "f1, f2, balanced_accuracy, recall>=0.8, precision>=0.5 or fn=10,fp=1.",
        ),
    ] = None,
    early_stop_metric: Annotated[
        str | None,
        flag("early_stop_metric", "loss, macro_f1, macro_recall, roc_auc or average_precision."),
    ] = None,
    early_stop_patience: Annotated[
        int | None, flag("early_stop_patience", "Epochs to wait for an improvement.")
    ] = None,
    min_delta: Annotated[float | None, flag("min_delta", "What counts as one, at least.")] = None,
    epochs: Annotated[int | None, flag("epochs", "Epochs at most.")] = None,
    batch_size: Annotated[int | None, flag("batch_size", "Rows a step.")] = None,
    lr: Annotated[float | None, flag("lr", "AdamW's learning rate.")] = None,
    weight_decay: Annotated[float | None, flag("weight_decay", "AdamW's weight decay.")] = None,
    dropout: Annotated[float | None, flag("dropout", "Share of hidden units dropped.")] = None,
    hidden_dim: Annotated[int | None, flag("hidden_dim", "Width of a hidden layer.")] = None,
    num_layers: Annotated[int | None, flag("num_layers", "Hidden layers; 0 is linear.")] = None,
    val_size: Annotated[float, flag("val_size", "Share of rows to validate on.")] = 0.2,
    test_size: Annotated[float, flag("test_size", "Share of rows held out; 0: none.")] = 0.2,
    seed: Annotated[int, flag("seed", "Seed of split, weights and draws.")] = 0,
    resume: Annotated[
        Path | None, flag("resume", "Go on with the interrupted run in this output_dir.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train one network, with the remedies asked for, and say what is wrong with the run."""
    given = {name: value for name, value in locals().items() if value is not None}
    from trainer.commands.train import train as run

    run(given)


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    csv: Csv,
    output: Annotated[
        Path | None, flag("output", "Page of plots; CHECKPOINT/evaluation.html by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Score a checkpoint on a labelled table, with intervals, and draw its curves."""
    from trainer.commands.evaluate import evaluate as run

    run(checkpoint, csv, output, as_json=json)


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    csv: Csv,
    output: Annotated[Path, flag("output", "CSV to write.")],
    id_: Id = None,
) -> None:
    """Write each row's probability and decision for every label."""
    with _kept_for_good():
        from trainer.checkpoint import load_checkpoint
        from trainer.commands.device import one_thread
        from trainer.predict import predict_file

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    with one_thread():
        rows = predict_file(load_checkpoint(checkpoint), csv, output, id_, say)
    print(f"{rows} rows predicted to {output}")


@contextmanager
def _kept_for_good() -> Iterator[None]:
    """Import without garbage collection, and spare what was imported from later ones.

    Walking a million imported objects, again when the program ends, takes a third of a short run.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


COMMANDS = (train, evaluate, predict)


def make_app(name: str, help_text: str) -> typer.Typer:
    """Return an app whose errors `run_app` shows."""
    return typer.Typer(
        name=name,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line; every error a user can cause is one line and exit status 2."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        status = app(standalone_mode=False)
    except RaretuneError as error:
        _fail(str(error), 2)
    except typer.TyperException as error:
        _fail(f"{error.format_message()} (see --help)", 2)
    if status == 130:
        _fail("stopped at once", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    print(f"raretune: {message}", file=sys.stderr)
    sys.exit(status)
