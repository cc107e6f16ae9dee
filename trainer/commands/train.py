"""The command train: one run from its plan to its checkpoint, which can stop anywhere and resume.

flags -> plan -> experiment -> fit -> output_dir: checkpoint, history.svg, diagnosis
"""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.text import Text

from trainer.checkpoint import Checkpoint, Record, check_replaceable, json_text, save_checkpoint
from trainer.commands.device import one_thread, pick_device
from trainer.commands.effects import check_effects, check_resumed
from trainer.commands.guide import roles_without_labels
from trainer.commands.interrupt import interruptible
from trainer.commands.monitor import epoch_view
from trainer.commands.tables.inspect import check, roles_of, tell
from trainer.commands.tables.options import dialect_of
from trainer.commands.terminal import (
    calibration_sentence,
    label_grid,
    progress_console,
    remark_on_speed,
    result_console,
    score_sentence,
    shrunk_sentence,
)
from trainer.config import TrainConfig, invalid
from trainer.data.cells.dialect import Dialect
from trainer.data.files.sources import from_anywhere
from trainer.data.inspection.summary import summarize
from trainer.data.table import Roles
from trainer.diagnosis import Sign, diagnose, unjudged
from trainer.errors import CheckpointError, ConfigError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    finished,
    make_checkpoint,
    prepare_experiment,
)
from trainer.loop.fit import EpochReport, TrainResult, fit
from trainer.loop.resume import RunState, load_state, misfit, save_state
from trainer.pages.picture import write_picture
from trainer.wording import doubt_sentences

DEFAULT_OUTPUT = Path("runs/train")
PICTURE = "history.svg"


class Plan(BaseModel):
    """All that decides a run: it is kept with the run's state, so that --resume needs no flags."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    csv: Path
    roles: Roles
    split: SplitSettings
    config: TrainConfig
    dialect: Dialect = Dialect()
    table_hash: str | None = None


@dataclass(frozen=True)
class Trained:
    """What a run left behind; `finished` is false if it was stopped and can be resumed.

    `unjudged` says why little can be said of it, if so.
    """

    result: TrainResult
    checkpoint: Checkpoint | None
    signs: list[Sign]
    unjudged: str
    folder: Path
    finished: bool


@one_thread()
def train(given: Mapping[str, Any]) -> None:
    """Train as the flags say, or go on with an interrupted run, and print what came of it."""
    device, started = pick_device(given["device"]), time.monotonic()
    folder, state = given.get("output_dir", DEFAULT_OUTPUT), None
    if "resume" in given:
        folder = given["resume"]
        plan, state = load_plan(folder)
        check_resumed(_located(given), {**_as_flags(plan), "output_dir": folder.resolve()})
    else:
        plan = _plan(given)
    remark_on_speed(device.type)
    with interruptible() as interrupt:
        plan, experiment = start(plan, device)
        tell(experiment.table, check(experiment.table, experiment.split, strict=given["strict"]))
        earlier = () if state is None else state.history
        with epoch_view(progress_console(), plan.config, plan.roles.labels, earlier) as view:
            trained = run_training(
                plan, experiment, folder, resume=state, on_epoch=view, should_stop=interrupt
            )
    if given["json"]:
        columns = {"columns": summarize(experiment.table).to_json()}
        print(json_text({**columns, **describe(trained, time.monotonic() - started)}))
    else:
        _print_trained(trained)


def _plan(given: Mapping[str, Any]) -> Plan:
    if "csv_path" not in given:
        raise ConfigError(
            "no table is named; give one with --csv_path FILE, or name a run with --resume FOLDER"
        )
    roles = roles_of(given)
    csv, dialect = from_anywhere(given["csv_path"]).resolve(), dialect_of(given)
    return Plan(
        config=_config(given),
        csv=csv,
        dialect=dialect,
        roles=roles if roles.label_columns else roles_without_labels(csv, roles, dialect),
        split=SplitSettings(
            given["val_size"], given["test_size"], given["seed"], given["folds"], given["repeats"]
        ),
    )


def _config(given: Mapping[str, Any]) -> TrainConfig:
    """Return the config of the flags given; a weight method counts only under weighted sampling."""
    values = {name: given[name] for name in TrainConfig.model_fields if name in given}
    method = values.pop("weight_method", None)
    if given["use_weighted_sampling"]:
        values["weight_method"] = method or "balanced"
        if method == "none":
            raise ConfigError("--use_weighted_sampling has no effect with --weight_method none")
    elif method not in (None, "none"):
        raise ConfigError(f"--weight_method {method} needs --use_weighted_sampling; add it")
    config = TrainConfig.create(**values)
    check_effects(given, config)
    return config


def _as_flags(plan: Plan) -> dict[str, Any]:
    """Return what a run was begun with, by the names of the flags."""
    roles, dialect = plan.roles, plan.dialect
    return {
        **plan.config.model_dump(),
        "use_weighted_sampling": plan.config.weight_method != "none",
        **{"csv_path": plan.csv, "val_size": plan.split.val_size, "seed": plan.split.seed},
        **{"folds": plan.split.folds, "repeats": plan.split.repeats},
        **{"test_size": plan.split.test_size, "label": [*roles.labels], "group": roles.group},
        **{"sequence": roles.sequence, "drop": [*roles.drop], "id_": [*roles.id]},
        **{"category": [*roles.category], "date": [*roles.date]},
        **{"labels_from": roles.labels_from, "list_separator": roles.list_separator},
        **{"positive": [*roles.positive]},
        **{**asdict(dialect), "missing": [*dialect.missing]},
    }


def _located(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags with their paths resolved, as a plan has them."""
    paths = ("csv_path", "output_dir")
    return {n: value.resolve() if n in paths else value for n, value in given.items()}


def start(plan: Plan, device: torch.device) -> tuple[Plan, Experiment]:
    """Prepare a plan's table; return the plan with the table's hash noted."""
    experiment = prepare_experiment(plan.csv, plan.roles, plan.split, device, plan.dialect)
    if plan.table_hash not in (None, experiment.table.hash):
        raise CheckpointError(
            f"{plan.csv} is not the table that the interrupted run was training on; "
            "put that one back, or start a new run"
        )
    table = experiment.table
    return plan.model_copy(update={"table_hash": table.hash, "roles": table.roles}), experiment


def load_plan(folder: Path) -> tuple[Plan, RunState]:
    """Return the plan and the state of an interrupted run; raises CheckpointError."""
    state, kept = load_state(folder)
    try:
        plan = Plan.model_validate(kept)
        reason = misfit(state, plan.config, plan.roles.labels)
    except (ConfigError, ValidationError) as error:
        reason = str(error if isinstance(error, ConfigError) else invalid(error))
    if reason:
        raise CheckpointError(f"the run at {folder} can't be resumed: {reason}; start a new run")
    return plan, state


def run_training(
    plan: Plan,
    experiment: Experiment,
    folder: Path,
    *,
    resume: RunState | None = None,
    on_epoch: Callable[[EpochReport], None],
    should_stop: Callable[[], bool],
) -> Trained:
    """Train to the end, or until `should_stop`, and write `folder`."""
    check_replaceable(folder)
    kept = plan.model_dump(mode="json")
    latest: list[RunState] = [] if resume is None else [resume]

    def keep(state: RunState) -> None:
        latest[:] = [state]
        save_state(folder, state, kept)

    def report_epoch(report: EpochReport) -> list[bool]:
        on_epoch(report)
        return [not should_stop()]

    result = fit(experiment.data, [plan.config], report_epoch, on_state=keep, resume=resume)[0]
    checkpoint = None
    if result.networks:
        checkpoint = make_checkpoint(experiment, result)
        if result.stopped != "caller":
            checkpoint = finished(checkpoint, experiment)
        save_checkpoint(folder, checkpoint)
    if result.stopped == "caller":
        save_state(folder, latest[0], kept)
    write_picture(folder / PICTURE, result.history, plan.roles.labels, result.best_epoch)
    return Trained(
        result=result,
        checkpoint=checkpoint,
        signs=diagnose(result.history, plan.config, experiment.data.prevalence, result.evaluation),
        unjudged=unjudged(result.history, plan.config, experiment.data.prevalence),
        folder=folder,
        finished=result.stopped != "caller",
    )


def describe(trained: Trained, seconds: float) -> dict[str, Any]:
    """Return a run as JSON types."""
    record = None if trained.checkpoint is None else trained.checkpoint.record
    return {
        "config": trained.result.config.model_dump(mode="json"),
        "epochs": len(trained.result.history),
        "best_epoch": trained.result.best_epoch,
        "stopped": trained.result.stopped,
        "finished": trained.finished,
        "validation": None if record is None else record.as_handed_out(record.validation),
        "test": None if record is None else record.test_as_handed_out,
        "diagnosis": [
            {"sign": sign.name, "words": sign.words, "remedies": list(sign.flags)}
            for sign in trained.signs
        ],
        "unjudged": trained.unjudged,
        "checkpoint": None if record is None else str(trained.folder),
        "seconds": round(seconds, 3),
    }


def _print_trained(trained: Trained) -> None:
    console = result_console()
    lines: list[str] = []
    if trained.checkpoint is not None:
        record = trained.checkpoint.record
        how = "cross-fitted" if trained.result.config.optimize_thresholds else "at 0.5"
        validation = record.as_handed_out(record.validation)
        console.print(label_grid(f"Validation rows ({how})", validation, record.doubts))
        if (test := record.test_as_handed_out) is not None:
            console.print(label_grid("Test rows", test, record.doubts))
        lines += _scores(trained, record)
    lines += ["", *_diagnosis(trained), "", "Next:", *_next(trained)]
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _scores(trained: Trained, record: Record) -> Iterator[str]:
    yield (
        f"Validated macro-F1 {record.validation['macro_f1']:.4f} in the best epoch, "
        f"{trained.result.best_epoch} of {len(trained.result.history)}."
    )
    if record.test is not None:
        macro = record.test["intervals"]["macro"]["f1"]
        yield score_sentence("Test", record.test["macro_f1"], macro) + "."
        if sentence := calibration_sentence(record.test, "test"):
            yield sentence
    yield from doubt_sentences(record.doubts)
    if sentence := shrunk_sentence(record.validation["shrunk_thresholds"]):
        yield sentence
    if not trained.finished:
        yield "The run was interrupted; it is tested when it has been resumed and has ended."


def _diagnosis(trained: Trained) -> Iterator[str]:
    nothing = trained.unjudged or "nothing wrong was seen."
    yield "Diagnosis:" if trained.signs else f"Diagnosis: {nothing}"
    for sign in trained.signs:
        yield f"  {sign.name.replace('_', ' ')}: {sign.words}"
        yield from (f"    try {flags}" for flags in sign.flags)


def _next(trained: Trained) -> Iterator[str]:
    folder = shlex.quote(str(trained.folder))
    if not trained.finished:
        yield f"  raretune train --resume {folder}"
    if trained.checkpoint is not None:
        yield f"  raretune evaluate {folder} --csv LABELLED.csv"
        yield f"  raretune predict {folder} --csv NEW.csv --output predictions.csv"
    yield f"  open {shlex.quote(str(trained.folder / PICTURE))}, the picture of the run's epochs"
