"""One training run from its plan to its checkpoint, which can stop anywhere and go on.

plan -> experiment -> fit -> output_dir: checkpoint, history.svg, diagnosis
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.checkpoint import Checkpoint, check_replaceable, save_checkpoint
from trainer.config import TrainConfig, invalid
from trainer.data.table import Roles
from trainer.diagnosis import Sign, diagnose
from trainer.errors import CheckpointError
from trainer.experiment import (
    Experiment,
    SplitSettings,
    make_checkpoint,
    prepare_experiment,
    with_test_scores,
)
from trainer.loop.fit import EpochReport, TrainResult, fit
from trainer.loop.resume import RunState, load_state, save_state
from trainer.pages.picture import write_picture

PICTURE = "history.svg"


class Plan(BaseModel):
    """All that decides a run: it is kept with the run's state, so that --resume needs no flags."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    csv: Path
    roles: Roles
    split: SplitSettings
    config: TrainConfig
    table_hash: str | None = None


@dataclass(frozen=True)
class Trained:
    """What a run left behind; `finished` is false if it was stopped and can be resumed."""

    result: TrainResult
    checkpoint: Checkpoint | None
    signs: list[Sign]
    folder: Path
    finished: bool


def start(plan: Plan, device: torch.device) -> tuple[Plan, Experiment]:
    """Prepare a plan's table; return the plan with the table's hash noted."""
    experiment = prepare_experiment(plan.csv, plan.roles, plan.split, device)
    if plan.table_hash not in (None, experiment.table.hash):
        raise CheckpointError(
            f"{plan.csv} is not the table that the interrupted run was training on; "
            "put that one back, or start anew"
        )
    return plan.model_copy(update={"table_hash": experiment.table.hash}), experiment


def load_plan(folder: Path) -> tuple[Plan, RunState]:
    """Return the plan and the state of an interrupted run; raises CheckpointError."""
    state, plan = load_state(folder)
    try:
        return Plan.model_validate(plan), state
    except ValidationError as error:
        raise CheckpointError(f"the run at {folder} can't be resumed: {invalid(error)}") from None


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
    torch.set_num_threads(1)
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
    if result.parameters is not None:
        checkpoint = make_checkpoint(experiment, result)
        if result.stopped != "caller":
            checkpoint = with_test_scores(checkpoint, experiment)
        save_checkpoint(folder, checkpoint)
    if result.stopped == "caller":
        save_state(folder, latest[0], kept)
    write_picture(folder / PICTURE, result.history, plan.roles.labels, result.best_epoch)
    return Trained(
        result=result,
        checkpoint=checkpoint,
        signs=diagnose(result.history, plan.config, _prevalence(experiment)),
        folder=folder,
        finished=result.stopped != "caller",
    )


def _prevalence(experiment: Experiment) -> dict[str, float]:
    shares = experiment.data.y_validation.mean(0).tolist()
    return dict(zip(experiment.data.labels, shares, strict=True))


def describe(trained: Trained, seconds: float) -> dict[str, Any]:
    """Return a run as JSON types."""
    record = None if trained.checkpoint is None else trained.checkpoint.record
    return {
        "config": trained.result.config.model_dump(mode="json"),
        "epochs": len(trained.result.history),
        "best_epoch": trained.result.best_epoch,
        "stopped": trained.result.stopped,
        "finished": trained.finished,
        "validation": None if record is None else record.validation,
        "test": None if record is None else record.test,
        "diagnosis": [
            {"sign": sign.name, "words": sign.words, "remedies": list(sign.remedies)}
            for sign in trained.signs
        ],
        "checkpoint": None if record is None else str(trained.folder),
        "seconds": round(seconds, 3),
    }
