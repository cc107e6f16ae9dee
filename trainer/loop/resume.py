"""A run between two epochs, in memory and as one file, so that it can go on bit for bit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer.errors import CheckpointError

STATE = "resume.safetensors"
HistoryRow = dict[str, float]


@dataclass(frozen=True)
class RunState:
    """One member after an epoch: all that its next epoch depends on.

    Shapes: parameters, moments and best parameters (P,), steps (), generator (bytes,) uint8.
    """

    parameters: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor
    generator: Tensor
    best_parameters: Tensor | None
    best_epoch: int
    history: list[HistoryRow]


TENSORS = ("parameters", "mean", "square", "steps", "generator", "best_parameters")


def save_state(folder: Path, state: RunState, plan: dict[str, Any]) -> None:
    """Write a state and the plan it belongs to into `folder`, whole or not at all."""
    tensors = {name: getattr(state, name) for name in TENSORS}
    stored = {name: t.cpu().contiguous() for name, t in tensors.items() if t is not None}
    run = {"plan": plan, "best_epoch": state.best_epoch, "history": state.history}
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
            f"no interrupted run at {folder}: {STATE} is missing; a finished run has none"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            run = json.loads((file.metadata() or {})["run"])
        state = RunState(
            **{name: tensors[name] for name in TENSORS[:-1]},
            best_parameters=tensors.get("best_parameters"),
            best_epoch=run["best_epoch"],
            history=run["history"],
        )
        _check(state)
        return state, run["plan"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} can't be resumed, {type(error).__name__}: {reason}; start the run anew"
        ) from None


def _check(state: RunState) -> None:
    rows = {tensor.shape for tensor in (state.parameters, state.mean, state.square)}
    if len(rows) != 1 or state.steps.shape != () or state.generator.dtype != torch.uint8:
        raise ValueError("its tensors are of unexpected shapes")
    if not all(isinstance(row["epoch"], int) for row in state.history):
        raise ValueError("its history has a row without an epoch")
