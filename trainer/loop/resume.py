"""A run between two epochs, in memory and as one file, so that it can go on bit for bit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainer.config import TrainConfig, invalid
from trainer.data.split import MAX_FOLDS
from trainer.errors import CheckpointError
from trainer.loop.history import HistoryRow, best_row, columns

STATE = "resume.safetensors"
MOST_STEPS = 2**31  # more than any run takes


@dataclass(frozen=True)
class MemberState:
    """One fold's member after an epoch: all that its next epoch depends on, and its best epoch.

    Shapes: parameters, moments and best parameters (P,), steps (), generator (bytes,) uint8.
    """

    parameters: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor
    generator: Tensor
    best_parameters: Tensor | None


@dataclass(frozen=True)
class RunState:
    """A run after an epoch: its members fold by fold, its best epoch (0 if none), its history."""

    members: tuple[MemberState, ...]
    best_epoch: int
    history: list[HistoryRow]


Score = Annotated[float, Field(strict=True)]


class _Run(BaseModel):
    """What is kept with the tensors; a score that is undefined is nan."""

    model_config = ConfigDict(extra="forbid")

    plan: dict[str, Any]
    folds: Annotated[int, Field(ge=1, le=MAX_FOLDS)] = 1
    best_epoch: Annotated[int, Field(ge=0)]
    history: Annotated[list[dict[str, Score]], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> "_Run":
        first = self.history[0].keys()
        for number, row in enumerate(self.history, start=1):
            if row.get("epoch") != number or row.keys() != first:
                raise ValueError(f"history has another row where epoch {number} belongs")
        if not {"loss", "validation_loss"} <= first:
            raise ValueError("history has no losses")
        return self


TENSORS = tuple(field.name for field in fields(MemberState))


def save_state(folder: Path, state: RunState, plan: dict[str, Any]) -> None:
    """Write a state and the plan it belongs to into `folder`, whole or not at all."""
    tensors = {
        _prefix(k) + name: getattr(member, name)
        for k, member in enumerate(state.members)
        for name in TENSORS
    }
    stored = {name: t.cpu().contiguous() for name, t in tensors.items() if t is not None}
    run = {
        "plan": plan,
        "folds": len(state.members),
        "best_epoch": state.best_epoch,
        "history": state.history,
    }
    scratch = folder / f".{STATE}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(save(stored, metadata={"run": json.dumps(run)}))
        scratch.replace(folder / STATE)
    except OSError as error:
        raise CheckpointError(
            f"can't write to {folder}: {error.strerror}; name another --output_dir"
        ) from error


def load_state(folder: Path) -> tuple[RunState, dict[str, Any]]:
    """Return the state and the plan that `save_state` wrote; raises CheckpointError.

    Every field is checked; what the plan holds is left to whom it belongs to.
    """
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(
            f"no interrupted run at {folder}: {STATE} is missing; a finished run has none, so "
            "start a new one"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            run = _Run.model_validate_json((file.metadata() or {}).get("run", ""))
        state = RunState(
            tuple(_member(tensors, k) for k in range(run.folds)),
            run.best_epoch,
            [{**row, "epoch": i} for i, row in enumerate(run.history, start=1)],
        )
        _check(state, tensors)
        return state, run.plan
    except ValidationError as error:
        reason = str(invalid(error))
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error)
    raise CheckpointError(
        f"{path} can't be resumed: {' '.join(reason.split())[:200]}; start a new run"
    )


def misfit(state: RunState, config: TrainConfig, labels: Sequence[str]) -> str:
    """Say why a state is not that of a run with this config on these labels; "" if it is."""
    if state.history[0].keys() != columns(labels):
        return "its history has other scores than its labels have"
    best = best_row(state.history, config)
    if state.best_epoch != (0 if best is None else best["epoch"]):
        return "its best epoch is not that of its history"
    return ""


def _prefix(fold: int) -> str:
    """Return what a fold's tensors are called by; the first fold's have their bare names."""
    return f"{fold}." if fold else ""


def _member(tensors: Mapping[str, Tensor], fold: int) -> MemberState:
    own = {name: tensors.get(_prefix(fold) + name) for name in TENSORS}
    if missing := [name for name in TENSORS[:-1] if own[name] is None]:
        raise ValueError(f"it has no {_prefix(fold)}{missing[0]}")
    return MemberState(**own)  # type: ignore[arg-type]  # none of the first five is None here


def _check(state: RunState, tensors: Mapping[str, Tensor]) -> None:
    known = {_prefix(k) + name for k in range(len(state.members)) for name in TENSORS}
    if stray := sorted(tensors.keys() - known):
        raise ValueError(f"the tensor {stray[0]} belongs to none of its members")
    if state.best_epoch > len(state.history):
        raise ValueError("its best epoch is none of its history")
    for member in state.members:
        kept = member.best_parameters
        if (kept is None) != (state.best_epoch == 0):
            raise ValueError("its best parameters are not those of its best epoch")
        rows = [member.parameters, member.mean, member.square, *([] if kept is None else [kept])]
        if len({row.shape for row in rows}) != 1 or rows[0].dim() != 1 or member.steps.shape != ():
            raise ValueError("its tensors are of unexpected shapes")
        if {tensor.dtype for tensor in (*rows, member.steps)} != {torch.float32}:
            raise ValueError("its tensors are of unexpected kinds")
        if not 0 <= float(member.steps) < MOST_STEPS or float(member.steps) % 1:
            raise ValueError("its number of steps is none")
        if member.generator.dtype != torch.uint8:
            raise ValueError("its generator is of an unexpected kind")
        try:
            torch.Generator().set_state(member.generator)
        except RuntimeError as error:
            raise ValueError(f"its generator has no state ({error})") from None
