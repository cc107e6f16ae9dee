"""One trained member on disk: a folder that is safe to open, whoever sent it.

    model.safetensors  the network's parameters, and the features' fitted tensors as features.NAME
    checkpoint.json    format version, config, labels, columns' roles, features, thresholds, scores,
                       split, table hash, versions
    thresholds.json    {label: threshold}, for other programs
    history.csv        a row an epoch

Numbers and text only, no pickle. A folder is written beside its place and renamed into it, so that
a crash leaves the old checkpoint or none.
"""

import csv
import itertools
import json
import math
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.config import TrainConfig, invalid
from trainer.data.features import Features
from trainer.data.table import Roles
from trainer.errors import CheckpointError, ConfigError
from trainer.loop.resume import STATE, HistoryRow
from trainer.stack.model import Shape, flat_parameters

FILES = MODEL, RECORD, THRESHOLDS, HISTORY = (
    "model.safetensors",
    "checkpoint.json",
    "thresholds.json",
    "history.csv",
)
FEATURE_PREFIX = "features."


class Record(BaseModel):
    """What checkpoint.json holds; scores are in [0, 1], `best_epoch` counts from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    config: TrainConfig
    labels: tuple[str, ...] = Field(min_length=1)
    roles: Roles
    features: dict[str, Any]
    thresholds: dict[str, float]
    best_epoch: int
    validation: dict[str, Any]
    test: dict[str, Any] | None
    split: dict[str, Any]
    table: dict[str, Any]
    trial: dict[str, Any] | None = None
    versions: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A member that can predict: network, features, thresholds, and the record of its making.

    `parameters` are named and shaped as trainer.stack.model.named_parameters has them.
    """

    record: Record
    features: Features
    parameters: dict[str, Tensor]
    history: list[HistoryRow]

    @property
    def shape(self) -> Shape:
        """Sizes of the network."""
        config, labels = self.record.config, self.record.labels
        return Shape(len(self.features.names), len(labels), config.hidden_dim, config.num_layers)

    def flat(self) -> Tensor:
        """Return the network's parameters as a stack of one, (1, P)."""
        return flat_parameters(self.parameters, self.shape)


@cache
def library_versions() -> dict[str, str]:
    """Return the versions that decide a result's bits."""
    names = ("raretune", "torch", "numpy", "optuna", "pandas", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to `folder`, in place of the one there; raises CheckpointError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            _write(fresh, checkpoint)
            if folder.exists():
                check_replaceable(folder)
                folder.rename(Path(scratch) / "old")
            fresh.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"can't write the checkpoint to {folder}: {error.strerror}; name another folder"
        ) from error


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    tensors, _ = checkpoint.features.to_state()
    stored = {
        FEATURE_PREFIX + name: torch.from_numpy(np.ascontiguousarray(array))
        for name, array in tensors.items()
    }
    stored |= {name: tensor.contiguous() for name, tensor in checkpoint.parameters.items()}
    save_file(stored, folder / MODEL)
    record = checkpoint.record.model_dump(mode="json")
    write_json(folder / RECORD, record)
    write_json(folder / THRESHOLDS, record["thresholds"])
    write_history(folder / HISTORY, checkpoint.history)


def check_replaceable(folder: Path) -> None:
    """Raise CheckpointError if a folder exists and is not a checkpoint, a run or empty."""
    if not folder.exists():
        return
    known = folder.is_dir() and any((folder / name).exists() for name in (RECORD, STATE))
    if not known and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(
            f"{folder} holds something other than a checkpoint; name another folder"
        )


def json_text(content: object, indent: int | None = None) -> str:
    """Return strict JSON; nan and infinities, which it lacks, become null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON."""
    path.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def write_history(path: Path, history: Sequence[HistoryRow]) -> None:
    """Write a CSV with a row an epoch; numbers keep every digit."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]) if history else ["epoch"])
        writer.writeheader()
        writer.writerows(history)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint folder; raises CheckpointError if anything about it is not as written."""
    if not (folder / RECORD).is_file():
        raise CheckpointError(
            f"no checkpoint at {folder}: {RECORD} is missing; name the folder that holds it"
        )
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
        record = Record.model_validate_json(text)
        tensors = load_file(folder / MODEL)
        features = Features.from_state(_feature_arrays(tensors), record.features)
        history = _read_history(folder / HISTORY)
    except ValidationError as error:
        raise _broken(folder, str(invalid(error))) from None
    except (ConfigError, CheckpointError) as error:
        raise _broken(folder, str(error)) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise _broken(folder, str(error)) from None
    checkpoint = Checkpoint(
        record=record,
        features=features,
        parameters={k: v for k, v in tensors.items() if not k.startswith(FEATURE_PREFIX)},
        history=history,
    )
    _check_shapes(folder, checkpoint)
    return checkpoint


def _feature_arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(FEATURE_PREFIX): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(FEATURE_PREFIX)
    }


def _read_history(path: Path) -> list[HistoryRow]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: int(text) if name == "epoch" else float(text) for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def _check_shapes(folder: Path, checkpoint: Checkpoint) -> None:
    shape, labels = checkpoint.shape, checkpoint.record.labels
    sizes = [shape.features, *[shape.hidden_dim] * shape.num_layers, shape.labels]
    expected: dict[str, tuple[int, ...]] = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        expected[f"layers.{i}.weight"] = (n_in, n_out)
        expected[f"layers.{i}.bias"] = (n_out,)
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.parameters.items()}
    if found != expected:
        raise _broken(folder, f"layers of shapes {found} where the config has {expected}")
    for name, tensor in checkpoint.parameters.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise _broken(folder, f"{name} holds other than finite float32 numbers")
    if set(checkpoint.record.thresholds) != set(labels):
        raise _broken(folder, "thresholds that are not those of its labels")


def _broken(folder: Path, reason: str) -> CheckpointError:
    line = " ".join(reason.split())[:300]
    return CheckpointError(f"the checkpoint at {folder} is broken or of another format: {line}")
