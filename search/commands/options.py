"""The options of `raretune` commands: how each is spelled and what its help says.

Every text stands alone as a sentence and names its default. Nothing heavy is imported here.
"""

from pathlib import Path
from typing import Annotated

import typer

from trainer.commands.options import FILES, flag

Folder = Annotated[
    Path, flag("workspace", "Folder with the studies and their checkpoints; runs by default.")
]
Storage = Annotated[
    str | None,
    flag(
        "storage",
        "URL of the database with the trials: sqlite:///FILE, "
        "postgresql://USER:PASSWORD@HOST/NAME, mysql://... or journal:///FILE. By default it is "
        "sqlite:///WORKSPACE/studies.db.",
    ),
]
Study = Annotated[str, typer.Argument(help="Name of a study that was searched.")]
Trial = Annotated[
    str, flag("trial", "Number of the trial, or the word best, which is the default.")
]
Output = Annotated[Path, flag("output", "Folder to write the checkpoint to.")]
Moved = Annotated[
    Path | None,
    flag("csv", "File of the study's table, if it is no longer where it was when searched."),
]
Definition = Annotated[
    str,
    typer.Argument(
        help="What to search: a bundled study (see raretune studies) or a TOML file of your "
        "own. The study named default suits any table given with --csv.",
        show_default=False,
    ),
]
Table = Annotated[
    Path | None,
    flag(
        "csv",
        f"Table to search on: {FILES}. By default the one that the study's definition names.",
        "--csv_path",
        "--csv-path",
    ),
]
ValSize = Annotated[
    float | None, flag("val_size", "Share of the rows to validate on; 0.2 by default.")
]
TestSize = Annotated[
    float | None,
    flag(
        "test_size",
        "Share of the rows that are locked until the search has ended and then score its best "
        "trial once; 0.2 by default, 0 locks none.",
    ),
]
Folds = Annotated[
    str | None,
    flag(
        "folds",
        "How many folds hold out rows to score trials on: with 5, each trial trains 5 networks "
        "and every row but test is scored by the one that did not train on it; 1 holds out a "
        "single validation part. By default auto: 5 where positives are few and time allows, "
        "else 1.",
    ),
]
Repeats = Annotated[
    int | None,
    flag("repeats", "How many times to deal the rows into folds; 1 by default."),
]
Objective = Annotated[
    str | None,
    flag(
        "objective",
        "What the search maximises: macro_f1, the default, macro_recall, average_precision, "
        "balanced_accuracy, or f1:LABEL for one label.",
    ),
]
ThresholdMetric = Annotated[
    str | None,
    flag(
        "threshold_metric",
        "What each label's threshold is chosen by: f1, the default, f2, balanced_accuracy, "
        "recall>=0.8, precision>=0.5 or costs such as fn=10,fp=1. recall>=0.8@0.95 promises "
        "that recall with 95 % confidence on new rows.",
    ),
]
Sampler = Annotated[
    str | None,
    flag("sampler", "How trials are drawn: tpe, the default, gp, cmaes, random or qmc."),
]
Pruner = Annotated[
    str | None,
    flag(
        "pruner",
        "How weak trials are ended early: hyperband, the default, successive_halving, median, "
        "patient or none.",
    ),
]
Trials = Annotated[
    int | None,
    flag(
        "trials",
        "How many trials the study is to have, those of earlier searches counted too; 100 by "
        "default.",
    ),
]
Timeout = Annotated[
    float | None,
    flag("timeout", "End this search after this many seconds; 0, the default, sets no limit."),
]
Stack = Annotated[
    int | None,
    flag("stack", "How many trials train side by side in a process; 8 by default."),
]
Workers = Annotated[
    int | None,
    flag("workers", "How many processes search the study together; 1 by default."),
]
Compare = Annotated[
    bool | None,
    typer.Option(
        "--compare/--no-compare",
        help="Fit ordinary models too, on the same folds and with thresholds chosen alike, and say "
        "whether one is better than what was found: logistic regression and gradient boosting of "
        "scikit-learn, LightGBM and CatBoost where they are installed. By default none is fitted.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    flag("seed", "Seed of the split, of the search and of its trials; 0 by default."),
]
Set = Annotated[
    list[str] | None,
    flag(
        "set",
        "Change one value of the study's definition, written KEY=VALUE, for example "
        "space.lr.high=0.003. Can be given more than once.",
    ),
]
Name = Annotated[
    str | None,
    flag(
        "name",
        "Name to keep the study under; by default that of the --csv file, without one that of "
        "the definition.",
    ),
]
Fork = Annotated[
    str | None,
    flag(
        "fork",
        "Start the new study with those trials of this older study that fit its space; by "
        "default it starts without any.",
    ),
]
Refit = Annotated[
    str | None,
    flag(
        "refit",
        "With the value all, write a network that is trained with the trial's settings on "
        "train and validation rows together. By default the one trained on train rows is "
        "written.",
    ),
]
Seeds = Annotated[
    int,
    flag(
        "seeds",
        "Train the trial with this many new seeds as well, to say how much its score depends "
        "on the seed; 1, the default, trains with its own seed only.",
    ),
]
Top = Annotated[
    int, flag("top", "How many trials to train again, from the best down; 5 by default.")
]
SeedsEach = Annotated[
    int, flag("seeds", "How many new seeds to train each of them with; 5 by default.")
]
Size = Annotated[
    int,
    flag(
        "size",
        "How many times a trial is picked, the same one more than once perhaps; 25 by default. "
        "At most 8 different trials are picked.",
    ),
]
SeedsOfBoth = Annotated[
    int,
    flag(
        "seeds",
        "How many new seeds to train with, with each remedy and without; 3 by default, at least 2.",
    ),
]
Certify = Annotated[
    bool | None,
    typer.Option(
        "--certify/--no-certify",
        help="Say at the end what each remedy of the best trial is worth: its settings are trained "
        "with new seeds, with the remedy and without. By default this is done if it is expected "
        "to take less than a tenth of the search's time.",
        show_default=False,
    ),
]
AsCsv = Annotated[bool, flag("csv", "Print CSV, which is the default; excludes --json.")]
Page = Annotated[
    Path | None,
    flag("output", "HTML file to write; WORKSPACE/STUDY/report.html by default."),
]
Opened = Annotated[
    str | None,
    typer.Argument(help="Name of the study whose page to open at; by default the list of all."),
]
Port = Annotated[
    int,
    typer.Option(
        min=0,
        max=65535,
        help="Port to serve at; 8080 by default, 0 takes any free one.",
        show_default=False,
    ),
]
Host = Annotated[
    str,
    flag(
        "host",
        "Address to serve at; 127.0.0.1 by default, which only this machine can reach.",
    ),
]
Action = Annotated[
    str,
    typer.Argument(
        help="Either list, which is the default, or show, which prints the study NAME.",
        show_default=False,
    ),
]
Bundled = Annotated[str | None, typer.Argument(help="Name of the bundled study that show prints.")]
Repair = Annotated[
    bool,
    flag(
        "repair",
        "Mark the trials whose process has died as failed, so that the next search repeats "
        "them. Without this flag nothing is changed.",
    ),
]
Scored = Annotated[
    Path | None,
    flag(
        "csv",
        "Table of studies: every checkpoint that is kept of a study searched on it is scored and "
        "compared with what the study says. By default none is scored.",
    ),
]
Example = Annotated[
    str, typer.Argument(help="Either nafld, a real table, or mesa, a synthetic one.")
]
CsvOutput = Annotated[
    Path, flag("output", "File to write the table to: .csv, .csv.gz or .parquet; - is stdout.")
]
Rows = Annotated[
    int | None,
    flag("rows", "How many rows the synthetic table is to have; 2000 by default."),
]
TableSeed = Annotated[int, flag("seed", "Seed of the synthetic table; 0 by default.")]
