"""What train and evaluate do, behind trainer.commands.cli, with the heavy imports."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from trainer.checkpoint import Checkpoint, json_text, load_checkpoint
from trainer.commands.device import pick_device
from trainer.commands.guide import roles_without_labels
from trainer.commands.interrupt import interruptible
from trainer.commands.monitor import epoch_view
from trainer.commands.terminal import (
    label_grid,
    remark_on_speed,
    result_console,
    score_sentence,
    shrunk_sentence,
)
from trainer.commands.training import (
    PICTURE,
    Plan,
    Trained,
    describe,
    load_plan,
    run_training,
    start,
)
from trainer.config import TrainConfig
from trainer.data.reading import read_columns
from trainer.data.table import Roles, Table, read_table
from trainer.errors import ConfigError
from trainer.experiment import SplitSettings, score_rows, split_again
from trainer.pages.evaluation import write_page

DEFAULT_OUTPUT = Path("runs/train")
PAGE = "evaluation.html"


def train(given: Mapping[str, Any]) -> None:
    """Train as the flags say, or go on with an interrupted run, and print what came of it."""
    device, started = pick_device(given["device"]), time.monotonic()
    folder, state = given.get("output_dir", DEFAULT_OUTPUT), None
    if "resume" in given:
        folder = given["resume"]
        plan, state = load_plan(folder)
    else:
        plan = _plan(given)
    remark_on_speed(device.type)
    with interruptible() as interrupt:
        plan, experiment = start(plan, device)
        earlier = () if state is None else state.history
        with epoch_view(Console(stderr=True), plan.config, plan.roles.labels, earlier) as view:
            trained = run_training(
                plan, experiment, folder, resume=state, on_epoch=view, should_stop=interrupt
            )
    if given["json"]:
        print(json_text(describe(trained, time.monotonic() - started)))
    else:
        _print_trained(trained)


def _plan(given: Mapping[str, Any]) -> Plan:
    if "csv_path" not in given:
        raise ConfigError("no table is named; give one with --csv_path FILE, or --resume a run")
    roles = Roles(
        labels=tuple(given.get("label", ())),
        group=given.get("group"),
        sequence=given.get("sequence"),
        drop=tuple(given.get("drop", ())),
        id=tuple(given.get("id_", ())),
    )
    return Plan(
        config=_config(given),
        csv=given["csv_path"].resolve(),
        roles=roles if roles.labels else roles_without_labels(given["csv_path"], roles),
        split=SplitSettings(given["val_size"], given["test_size"], given["seed"]),
    )


def _config(given: Mapping[str, Any]) -> TrainConfig:
    """Return the config of the flags given; a weight method counts only under weighted sampling."""
    values = {name: given[name] for name in TrainConfig.model_fields if name in given}
    method = values.pop("weight_method", None)
    if given["use_weighted_sampling"]:
        values["weight_method"] = method or "balanced"
    elif method not in (None, "none"):
        raise ConfigError(f"--weight_method {method} needs --use_weighted_sampling; add it")
    return TrainConfig.create(**values)


def _print_trained(trained: Trained) -> None:
    console, lines = result_console(), []
    result, folder = trained.result, trained.folder
    if trained.checkpoint is not None:
        record = trained.checkpoint.record
        how = "cross-fitted" if result.config.optimize_thresholds else "at 0.5"
        console.print(label_grid(f"Validation rows ({how})", record.validation))
        lines.append(
            f"Validated macro-F1 {record.validation['macro_f1']:.4f} in epoch {result.best_epoch} "
            f"of {len(result.history)}."
        )
        if record.test is not None:
            console.print(label_grid("Test rows", record.test))
            macro = record.test["intervals"]["macro"]["f1"]
            lines.append(score_sentence("Test", record.test["macro_f1"], macro) + ".")
        lines.append(shrunk_sentence(record.validation["shrunk_thresholds"]))
    lines += ["", "Diagnosis: nothing wrong was seen." if not trained.signs else "Diagnosis:"]
    for sign in trained.signs:
        lines.append(f"  {sign.name}: {sign.words}")
        lines += [f"    try {remedy}" for remedy in sign.remedies]
    lines += ["", "Next:"]
    if not trained.finished:
        lines.append(f"  raretune train --resume {folder}")
    if trained.checkpoint is not None:
        lines.append(f"  raretune evaluate {folder} --csv LABELLED.csv")
        lines.append(f"  raretune predict {folder} --csv NEW.csv --output predictions.csv")
    lines.append(f"  the run's picture is {folder / PICTURE}")
    console.print(Text("\n".join(lines)), soft_wrap=True)


def evaluate(folder: Path, csv: Path, output: Path | None, *, as_json: bool) -> None:
    """Score a checkpoint on a labelled table, print it and write its page."""
    checkpoint = load_checkpoint(folder)
    table = _labelled_table(checkpoint, csv)
    rows, note = _fair_rows(checkpoint, table)
    scored = score_rows(checkpoint, table, rows)
    page = output or folder / PAGE
    write_page(
        page,
        scored.scores,
        scored.intervals,
        scored.probabilities,
        scored.labels,
        checkpoint=str(folder),
        table=csv.name,
        note=note,
    )
    found = {**scored.to_json(), "page": str(page)}
    if as_json:
        print(json_text({**found, "rows": len(rows), "note": note}))
        return
    console = result_console()
    console.print(label_grid(f"{csv.name}, {len(rows)} rows", found))
    macro = scored.intervals.macro["f1"]
    sentence = score_sentence("", scored.scores.macro_f1, macro).strip()
    lines = [f"{sentence[0].upper()}{sentence[1:]}.", note, f"Intervals and curves are in {page}"]
    console.print(Text("\n".join(line for line in lines if line)), soft_wrap=True)


def _labelled_table(checkpoint: Checkpoint, csv: Path) -> Table:
    """Read a table in the checkpoint's roles; columns that it did not train on are dropped."""
    roles, features = checkpoint.record.roles, checkpoint.features
    columns = read_columns(csv).columns
    wanted = {*roles.labels, *features.number_columns, *features.text_columns}
    group = roles.group if roles.group in columns else None
    drop = tuple(name for name in columns if name not in wanted and name != group)
    return read_table(csv, Roles(roles.labels, group, roles.sequence, drop))


def _fair_rows(checkpoint: Checkpoint, table: Table) -> tuple[np.ndarray, str]:
    """Return the rows to score, and what to say: of the training table, the test rows alone."""
    record = checkpoint.record
    every = np.arange(len(table.labels))
    if table.hash != record.table["sha256"]:
        return every, ""
    settings = SplitSettings(*(record.split[key] for key in ("val_size", "test_size", "seed")))
    test = split_again(table, settings).test
    if len(test):
        return test, "This is the table it was trained on: its test rows alone are scored."
    return every, "It was trained on these very rows, so the scores flatter."
