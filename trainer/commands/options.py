"""The options of the trainer's commands: how each is spelled and what its help says.

Every flag is spelled with underscores, as in the guide, or with hyphens. Every text stands alone as
a sentence and names its default. Nothing heavy is imported here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def flag(name: str, help_text: str, *more: str, callback: Callable[..., Any] | None = None) -> Any:
    """Return an option spelled --its_name and --its-name; `callback` gets and returns its value."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}", *more))
    return typer.Option(*spellings, help=help_text, show_default=False, callback=callback)


FILES = "a CSV, Parquet, Arrow or Excel file or one of SAS, Stata or SPSS; - is standard input"

Labels = Annotated[
    list[str] | None,
    flag("label", "Column of 0 and 1 to predict. Can be given more than once."),
]
Group = Annotated[
    str | None,
    flag(
        "group",
        "Column whose equal rows (of one patient, of one family) stay together in one part of the "
        "split; by default each row stands for itself.",
    ),
]
Sequence = Annotated[
    str | None,
    flag(
        "sequence",
        "Column of digit strings, a symbol for each step in time, to make features of; by default "
        "there is none.",
    ),
]
Drop = Annotated[
    list[str] | None,
    flag("drop", "Column to leave out of the features. Can be given more than once."),
]
Id = Annotated[
    list[str] | None,
    flag(
        "id",
        "Column that names a row: it is no feature, and predictions copy it. Can be given more "
        "than once.",
    ),
]
Device = Annotated[
    str,
    flag(
        "device",
        "Where to compute: cpu, cuda, or auto, which is the default and takes the CPU, since "
        "searches of such small networks are slower on a GPU.",
    ),
]
Json = Annotated[bool, flag("json", "Print one JSON object for programs to read.")]
Checkpoint = Annotated[
    Path, typer.Argument(help="Folder of the checkpoint that train or search has written.")
]

# train
Training = Annotated[
    Path | None,
    flag("csv_path", f"Table to train on: {FILES}. A run that is resumed has its own.", "--csv"),
]
OutputDir = Annotated[
    Path | None, flag("output_dir", "Folder to write the checkpoint to; runs/train by default.")
]
TrainLabels = Annotated[
    list[str] | None,
    flag(
        "label",
        "Column of 0 and 1 to predict; by default the guide's own, insomnia, restless leg and "
        "apnea. Can be given more than once.",
    ),
]
StratifiedSplit = Annotated[
    bool,
    flag(
        "use_stratified_split",
        "Changes nothing, because every split is stratified; it is taken as part of the guide's "
        "commands.",
    ),
]
WeightedSampling = Annotated[
    bool,
    flag(
        "use_weighted_sampling",
        "Draw rows with replacement, those with a positive label more often; by default each row "
        "is drawn once an epoch.",
    ),
]
WeightMethod = Annotated[
    str | None,
    flag(
        "weight_method",
        "How much more often weighted sampling draws positive rows: balanced, inverse, "
        "inverse_sqrt, aggressive or per_class; balanced by default.",
    ),
]
LossType = Annotated[
    str | None,
    flag(
        "loss_type",
        "Loss to minimise: bce (cross-entropy), weighted_bce (with class weights) or focal; bce "
        "by default.",
    ),
]
FocalGamma = Annotated[
    float | None,
    flag(
        "focal_gamma",
        "How strongly the focal loss turns to rows that are hard to decide, from 0 to 10; 2.0 by "
        "default.",
    ),
]
ClassWeightMethod = Annotated[
    str | None,
    flag(
        "class_weight_method",
        "How heavily the losses weighted_bce and focal weight a positive: none, balanced, inverse, "
        "aggressive or very_aggressive; none by default.",
    ),
]
ClassWeightMultiplier = Annotated[
    float | None,
    flag(
        "class_weight_multiplier",
        "Factor that all class weights are multiplied by; 1.0 by default.",
    ),
]
LabelSmoothing = Annotated[
    float | None,
    flag(
        "label_smoothing",
        "How far targets are moved from 0 and 1 towards 0.5, as a share from 0 to below 1; 0.0 by "
        "default.",
    ),
]
OptimizeThresholds = Annotated[
    bool,
    flag(
        "optimize_thresholds",
        "Choose the best threshold of each label on the validation rows; by default all are 0.5.",
    ),
]
ThresholdMetric = Annotated[
    str | None,
    flag(
        "threshold_metric",
        "What thresholds are to maximise: f1, f2 or another F-beta, balanced_accuracy, the "
        "precision that is left at recall>=0.8 (recall>=0.8@0.95: with 95 % confidence on new "
        "rows), the recall that is left at precision>=0.5, or the errors saved at costs of "
        "fn=10,fp=1; f1 by default.",
    ),
]
EarlyStopMetric = Annotated[
    str | None,
    flag(
        "early_stop_metric",
        "Validation score that says which epoch is best: loss, macro_f1, macro_recall, roc_auc or "
        "average_precision; macro_f1 by default.",
    ),
]
EarlyStopPatience = Annotated[
    int | None,
    flag(
        "early_stop_patience",
        "Stop when this many epochs in a row have brought no improvement; 15 by default.",
    ),
]
MinDelta = Annotated[
    float | None,
    flag(
        "min_delta",
        "How much better than the best epoch an epoch must be to count as an improvement; 0.0 by "
        "default.",
    ),
]
Epochs = Annotated[
    int | None, flag("epochs", "How many epochs to train for at most; 100 by default.")
]
BatchSize = Annotated[
    int | None, flag("batch_size", "How many rows a training step takes; 128 by default.")
]
LearningRate = Annotated[
    float | None, flag("lr", "Learning rate of the optimizer AdamW; 0.001 by default.")
]
WeightDecay = Annotated[
    float | None,
    flag("weight_decay", "Weight decay of the optimizer AdamW; 0.0001 by default."),
]
Dropout = Annotated[
    float | None,
    flag("dropout", "Share of hidden units left out in a training step; 0.2 by default."),
]
HiddenDim = Annotated[
    int | None, flag("hidden_dim", "How many units a hidden layer has; 128 by default.")
]
NumLayers = Annotated[
    int | None,
    flag(
        "num_layers",
        "How many hidden layers the network has; 2 by default, 0 is logistic regression.",
    ),
]
ValSize = Annotated[float, flag("val_size", "Share of the rows to validate on; 0.2 by default.")]
Folds = Annotated[
    int,
    flag(
        "folds",
        "Train this many networks, each without one fold of the rows, and score every row but "
        "test by the network that did not train on it; the checkpoint predicts with their mean. "
        "1, the default, trains one network and holds out one validation part.",
    ),
]
Repeats = Annotated[
    int, flag("repeats", "How many times to deal the rows into folds; 1 by default.")
]
TestSize = Annotated[
    float,
    flag(
        "test_size",
        "Share of the rows to test the trained network on; 0.2 by default, 0 holds none out.",
    ),
]
Seed = Annotated[
    int,
    flag("seed", "Seed of the split, the initial weights and all random draws; 0 by default."),
]
Resume = Annotated[
    Path | None,
    flag(
        "resume",
        "Continue the interrupted run whose output_dir this is, with that run's own settings; the "
        "result is bit for bit that of a run without interruption.",
    ),
]

# evaluate and predict
Labelled = Annotated[
    Path,
    flag(
        "csv",
        f"Table to score the checkpoint on, labels included: {FILES}.",
        *("--csv_path", "--csv-path"),
    ),
]
Unlabelled = Annotated[Path, flag("csv", f"Table to predict: {FILES}.", "--csv_path", "--csv-path")]
EvaluationPage = Annotated[
    Path | None,
    flag(
        "output",
        "HTML page to write with intervals and curves; CHECKPOINT/evaluation.html by default.",
    ),
]
AllRows = Annotated[
    bool,
    flag(
        "all_rows",
        "Score all rows, those that the checkpoint was trained on as well; by default these are "
        "left out.",
    ),
]
Predictions = Annotated[
    Path,
    flag("output", "File to write the predictions to: .csv, .csv.gz or .parquet; - is stdout."),
]
Raw = Annotated[
    bool,
    flag(
        "raw",
        "Write the probabilities that the networks gave, which remedies for imbalance push up, "
        "instead of calibrated ones; decisions are the same. Their thresholds are in "
        "checkpoint.json.",
    ),
]
CopiedId = Annotated[
    list[str] | None,
    flag(
        "id",
        "Column to copy to the predictions; by default those that training was given with --id. "
        "Can be given more than once.",
    ),
]
