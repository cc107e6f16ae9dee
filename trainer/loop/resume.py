"""A run between two epochs, in memory and as one file, so that it can go on bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer.errors import CheckpointError
from trainer.loop.history import HistoryRow

STATE = "resume.safetensors"


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
        save_file(stored, scratch, metadata={"run": json.dumps(run)})
        scratch.replace(folder / STATE)
    except OSError as error:
        raise CheckpointError(
            f"can't write to {folder}: {error.strerror}; name another --output_dir"
        ) from error


def load_state(folder: Path) -> tuple[RunState, dict[str, Any]]:
    """Return the state and the plan that `save_state` wrote; raises CheckpointError."""
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(
            f"no interrupted run at {folder}: {STATE} is missing; a finished run has none, so "
            "start a new one"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            run = json.loads((file.metadata() or {})["run"])
        members = tuple(_member(tensors, k) for k in range(run.get("folds", 1)))
        state = RunState(members, run["best_epoch"], run["history"])
        _check(state)
        return state, run["plan"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} can't be resumed, {type(error).__name__}: {reason}; start a new run"
        ) from None


def _prefix(fold: int) -> str:
    """Return what a fold's tensors are called by; the first fold's have their bare names."""
    return f"{fold}." if fold else ""


def _member(tensors: Mapping[str, Tensor], fold: int) -> MemberState:
    own = {name: tensors.get(_prefix(fold) + name) for name in TENSORS}
    if missing := [name for name in TENSORS[:-1] if own[name] is None]:
        raise KeyError(_prefix(fold) + missing[0])
    return MemberState(**own)  # type: ignore[arg-type]  # none of the first five is None here


def _check(state: RunState) -> None:
    for member in state.members:
        rows = {tensor.shape for tensor in (member.parameters, member.mean, member.square)}
        if len(rows) != 1 or member.steps.shape != () or member.generator.dtype != torch.uint8:
            raise ValueError("its tensors are of unexpected shapes")
    if not all(isinstance(row["epoch"], int) for row in state.history):
        raise ValueError("its history has a row without an epoch")
