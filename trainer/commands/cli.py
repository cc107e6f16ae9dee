"""The trainer's commands: train, evaluate, predict; part of `raretune`, and `python -m trainer`.

Nothing heavy is imported here: a command imports what it needs when it runs.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.commands.options import (
    AllRows,
    BatchSize,
    Checkpoint,
    ClassWeightMethod,
    ClassWeightMultiplier,
    CopiedId,
    Device,
    Drop,
    Dropout,
    EarlyStopMetric,
    EarlyStopPatience,
    Epochs,
    EvaluationPage,
    FocalGamma,
    Folds,
    Group,
    HiddenDim,
    Id,
    Json,
    Labelled,
    Labels,
    LabelSmoothing,
    LearningRate,
    LossType,
    MinDelta,
    NumLayers,
    OptimizeThresholds,
    OutputDir,
    Predictions,
    Raw,
    Repeats,
    Resume,
    Seed,
    Sequence,
    StratifiedSplit,
    TestSize,
    ThresholdMetric,
    Training,
    TrainLabels,
    Unlabelled,
    ValSize,
    WeightDecay,
    WeightedSampling,
    WeightMethod,
)
from trainer.commands.tables.options import (
    Category,
    Date,
    Decimal,
    Encoding,
    Inspected,
    LabelsFrom,
    ListSeparator,
    Missing,
    Positive,
    Separator,
    Sheet,
    Strict,
    Thousands,
    dialect_for,
)


def train(
    csv_path: Training = None,
    output_dir: OutputDir = None,
    label: TrainLabels = None,
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
    use_stratified_split: StratifiedSplit = True,
    use_weighted_sampling: WeightedSampling = False,
    weight_method: WeightMethod = None,
    loss_type: LossType = None,
    focal_gamma: FocalGamma = None,
    class_weight_method: ClassWeightMethod = None,
    class_weight_multiplier: ClassWeightMultiplier = None,
    label_smoothing: LabelSmoothing = None,
    optimize_thresholds: OptimizeThresholds = False,
    threshold_metric: ThresholdMetric = None,
    early_stop_metric: EarlyStopMetric = None,
    early_stop_patience: EarlyStopPatience = None,
    min_delta: MinDelta = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    weight_decay: WeightDecay = None,
    dropout: Dropout = None,
    hidden_dim: HiddenDim = None,
    num_layers: NumLayers = None,
    val_size: ValSize = 0.2,
    test_size: TestSize = 0.2,
    folds: Folds = 1,
    repeats: Repeats = 1,
    seed: Seed = 0,
    resume: Resume = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train one network with the remedies you choose.

    The run ends with its scores, with what was wrong with it, and with the flags to try next. Its
    checkpoint is written to the output folder. Ctrl-C ends it after the current epoch, and --resume
    continues it.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    from trainer.commands.train import train as run

    run(given)


def evaluate(
    checkpoint: Checkpoint,
    csv: Labelled,
    output: EvaluationPage = None,
    all_rows: AllRows = False,
    separator: Separator = None,
    encoding: Encoding = None,
    sheet: Sheet = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    json: Json = False,
) -> None:
    """Score a checkpoint on a labelled table.

    Scores are printed, and a page with their 95 % intervals and with curves is written. Rows that
    it was trained on are left out, in whatever file and order they stand.
    """
    written = _written(separator, encoding, sheet, decimal, thousands)
    from trainer.commands.evaluate import evaluate as run

    run(checkpoint, csv, output, written, all_rows=all_rows, as_json=json)


def predict(
    checkpoint: Checkpoint,
    csv: Unlabelled,
    output: Predictions,
    id_: CopiedId = None,
    separator: Separator = None,
    encoding: Encoding = None,
    sheet: Sheet = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    raw: Raw = False,
) -> None:
    """Write each label's probability and decision for every row of a table.

    Probabilities are calibrated: of rows with 0.2, about one in five is positive. The thresholds
    that go with them are in the checkpoint's thresholds.json.
    """
    written = _written(separator, encoding, sheet, decimal, thousands)
    with _kept_for_good():
        from trainer.checkpoint import load_checkpoint, other_thresholds
        from trainer.commands.device import one_thread
        from trainer.data.files.sources import from_anywhere
        from trainer.predict import predict_file
        from trainer.wording import doubt_sentences
        from trainer.writing import beside

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    with one_thread():
        loaded = load_checkpoint(checkpoint)
        for sentence in doubt_sentences(loaded.record.doubts):
            say(sentence)
        if told := other_thresholds(checkpoint, loaded.record):
            say(told)
        path = from_anywhere(csv)
        dialect = dialect_for(path, loaded.record.dialect, written)
        rows = predict_file(loaded, path, output, id_, say, dialect, raw=raw)
    with beside(output):
        print(f"{rows} rows predicted to {output}")


def inspect(
    csv: Inspected,
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
    json: Json = False,
) -> None:
    """Print what is read of a table, and what of it looks like a leak.

    What is printed is a definition with the columns' roles: save it to a file, and search takes it.
    """
    given = dict(locals())
    from trainer.commands.tables.inspect import inspect as run

    run(given)


def _written(
    separator: str | None,
    encoding: str | None,
    sheet: str | None,
    decimal: str | None,
    thousands: str | None,
) -> dict[str, str | None]:
    """Return the flags that say how a new table is written, by name."""
    return {
        "separator": separator,
        "encoding": encoding,
        "sheet": sheet,
        "decimal": decimal,
        "thousands": thousands,
    }


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


COMMANDS = (train, evaluate, predict, inspect)
