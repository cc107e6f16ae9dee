"""A trained run on disk: a folder that is safe to open, whoever sent it.

    model.safetensors  each fold's network: its parameters as FOLD.layers..., and the fitted tensors
                       of its features as FOLD.features.NAME; digests of its rows as rows.NAME;
                       of an ensemble, each member's parameters as FOLD.MEMBER.layers...
    checkpoint.json    format version, config, labels, columns' roles, features of each fold,
                       thresholds, scores, split, table hash, versions
    thresholds.json    {label: threshold} for other programs, of the probabilities that are
                       handed out: calibrated, if the record says how
    history.csv        a row an epoch

Format 1, of versions before folds, has one network and its names without FOLD; format 2 knows no
ensembles. Both are still read.
Numbers and text only, no pickle. A folder is written beside its place and renamed into it, so that
a crash leaves the old checkpoint or none.
"""

import itertools
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from trainer.config import TrainConfig, invalid
from trainer.data.cells.dates import PARTS, part_name
from trainer.data.digests import KnownRows
from trainer.data.features import Features
from trainer.data.table import Known
from trainer.errors import CheckpointError, ConfigError
from trainer.loop.history import HistoryRow, read_history, write_history
from trainer.loop.resume import STATE
from trainer.record import Record as Record
from trainer.record import parse
from trainer.scores.calibration import DIGITS
from trainer.stack.model import Shape, flat_parameters
from trainer.writing import replaced_folder

FILES = MODEL, RECORD, THRESHOLDS, HISTORY = (
    "model.safetensors",
    "checkpoint.json",
    "thresholds.json",
    "history.csv",
)
OWN = (*FILES, STATE, f".{STATE}.part", "history.svg", "evaluation.html")  # of a run's folder
FEATURE_PREFIX, ROWS_PREFIX = "features.", "rows."
KINDS = {torch.float32, torch.float64, torch.int64, torch.int32}  # of the tensors in a checkpoint


@dataclass(frozen=True)
class Network:
    """One fold's network with its features; `parameters` as in trainer.stack.model."""

    features: Features
    shape: Shape
    parameters: dict[str, Tensor]

    def flat(self) -> Tensor:
        """Return the parameters as a stack of one, (1, P)."""
        return flat_parameters(self.parameters, self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A run that can predict: a network for each fold, and the record of its making.

    The mean of the networks' probabilities is its prediction. The networks read the same columns of
    a table, though each knows them as its own train rows showed them. `rows` knows the rows that it
    was made of; None in one of an earlier version.

    An ensemble has a network for each member in each fold, the first fold's before the second's.
    Those of a fold share its features, and their weighted mean stands where a run has one network.
    """

    record: Record
    networks: tuple[Network, ...]
    history: list[HistoryRow]
    rows: KnownRows | None = None

    @property
    def folds(self) -> tuple[tuple[Network, ...], ...]:
        """The networks of each fold: one, or one for each member of an ensemble."""
        each = max(1, len(self.record.members))
        starts = range(0, len(self.networks), each)
        return tuple(self.networks[start : start + each] for start in starts)

    @property
    def weights(self) -> tuple[float, ...]:
        """What each network of a fold weighs in the mean of that fold; they sum to 1."""
        return tuple(member["weight"] for member in self.record.members) or (1.0,)

    @property
    def number_columns(self) -> list[str]:
        """Columns of a table that some network reads as numbers."""
        return list(dict.fromkeys(c for n in self.networks for c in n.features.number_columns))

    @property
    def known(self) -> Known:
        """The columns of a table that some network reads, by kind; those of dates as they are."""
        numbers, text = set(self.number_columns), self.text_columns
        dates = {}
        for column, form in self.record.dates.items():
            made = {part_name(column, part) for part in PARTS}
            if made & numbers:
                dates[column] = form
            numbers -= made
        ordered = [name for name in self.number_columns if name in numbers]
        return Known(tuple(ordered), (*text, *dates), dates)

    @property
    def text_columns(self) -> list[str]:
        """Columns of a table that some network reads as text."""
        return list(dict.fromkeys(c for n in self.networks for c in n.features.text_columns))


def shape_of(config: TrainConfig, features: Features, n_labels: int) -> Shape:
    """Return the sizes of a config's network on its features."""
    return Shape(len(features.names), n_labels, config.hidden_dim, config.num_layers)


@cache
def library_versions() -> dict[str, str]:
    """Return the versions that decide a result's bits."""
    names = ("raretune", "torch", "numpy", "optuna", "pandas", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to `folder`, in place of the one there; raises CheckpointError."""
    try:
        check_replaceable(folder)
        with replaced_folder(folder, OWN) as fresh:
            _write(fresh, checkpoint)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"can't write the checkpoint to {folder}: {reason}; name another folder"
        ) from error


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    stored: dict[str, Tensor] = {}
    for k, networks in enumerate(checkpoint.folds):
        fitted, _ = networks[0].features.to_state()
        for name, array in fitted.items():
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            stored[f"{k}.{FEATURE_PREFIX}{name}"] = tensor
        for m, network in enumerate(networks):
            own, prefix = network.parameters, _prefix(checkpoint.record, k, m)
            stored |= {f"{prefix}{name}": tensor.contiguous() for name, tensor in own.items()}
    rows = {} if checkpoint.rows is None else checkpoint.rows.to_arrays()
    stored |= {f"{ROWS_PREFIX}{name}": torch.tensor(array) for name, array in rows.items()}
    (folder / MODEL).write_bytes(save(stored))
    record = checkpoint.record.model_dump(mode="json")
    write_json(folder / RECORD, record)
    write_json(folder / THRESHOLDS, checkpoint.record.thresholds_in_use)
    write_history(folder / HISTORY, checkpoint.history)


def check_replaceable(folder: Path) -> None:
    """Raise CheckpointError if a folder exists and is not a checkpoint, a run or empty.

    Neither `.` nor `..`, `/` or a mount point can be replaced.
    """
    if folder.name in ("", "..") or folder.is_mount():
        raise CheckpointError(f"{folder} can't be replaced by a checkpoint; name a folder in it")
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


def load_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint folder; raises CheckpointError if anything about it is not as written."""
    if not (folder / RECORD).is_file():
        raise CheckpointError(
            f"no checkpoint at {folder}: {RECORD} is missing; name the folder that holds it"
        )
    try:
        written = parse((folder / RECORD).read_text(encoding="utf-8"))
        tensors = _read_tensors(folder / MODEL)
        if isinstance(written, dict):
            written, tensors = _upgraded(written, tensors)
        record = Record.model_validate(written)
        of_rows = {name for name in tensors if name.startswith(ROWS_PREFIX)}
        networks, known = [], of_rows
        for k in range(len(record.features)):
            of_fold, names = _fold(record, tensors, k)
            networks += of_fold
            known = known | names
        if stray := sorted(tensors.keys() - known):
            raise CheckpointError(f"the tensor {stray[0]} belongs to none of its networks")
        for network in networks:
            check_parameters(network)
        rows = _rows(record, {name: tensors[name] for name in of_rows})
        return Checkpoint(record, tuple(networks), read_history(folder / HISTORY), rows)
    except ValidationError as error:
        raise _broken(folder, str(invalid(error))) from None
    except (ConfigError, CheckpointError, OSError, SafetensorError, ValueError) as error:
        raise _broken(folder, str(error)) from None


def other_thresholds(folder: Path, record: Record) -> str:
    """Say in which thresholds thresholds.json is not its checkpoint's record; "" if in none.

    It is written for other programs, which may have it alone; raretune goes by the record.
    """
    try:
        found = parse((folder / THRESHOLDS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (CheckpointError, OSError, ValueError) as error:
        found, what = None, f"can't be read ({error})"
    else:
        what = "is no list of thresholds"
    if isinstance(found, dict):
        own = record.thresholds_in_use
        others = sorted(
            name for name in {*found, *own} if not _is_near(found.get(name), own.get(name))
        )
        if not others:
            return ""
        first, says = others[0], "says" if record.calibration is None else "comes to"
        what = f"says {found.get(first)} for {first}, where {RECORD} {says} {own.get(first)}"
    remedy = "change both alike"
    if record.calibration is not None:
        remedy = f"change thresholds in {RECORD}, which are of raw probabilities"
    return f"{folder / THRESHOLDS} {what}: it is not used, and {RECORD} is; {remedy}"


def _is_near(found: object, own: float | None) -> bool:
    """Whether what is written is a threshold; another machine may calibrate its last digit away."""
    if not isinstance(found, int | float) or own is None:
        return False
    return math.isclose(found, own, rel_tol=10.0**-DIGITS)


def _upgraded(
    written: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a record and tensors of an earlier format as format 3 has them."""
    version = written.get("format_version")
    if version == 1:  # one network, which becomes number 0
        written = {**written, "features": [written.get("features")]}
        tensors = {n if n.startswith(ROWS_PREFIX) else f"0.{n}": t for n, t in tensors.items()}
    return {**written, "format_version": 3} if version in (1, 2) else written, tensors


def _prefix(record: Record, k: int, m: int) -> str:
    """Return what the parameters of the k-th fold's m-th network are called by."""
    return f"{k}.{m}." if record.members else f"{k}."


def _fold(record: Record, tensors: Mapping[str, Tensor], k: int) -> tuple[list[Network], set[str]]:
    """Return the k-th fold's networks and the names of their tensors, which may have any shape."""
    fitted = f"{k}.{FEATURE_PREFIX}"
    arrays = {n.removeprefix(fitted): t.numpy() for n, t in tensors.items() if n.startswith(fitted)}
    features = Features.from_state(arrays, record.features[k])
    names, networks = {f"{fitted}{name}" for name in arrays}, []
    for m, config in enumerate([one["config"] for one in record.members] or [record.config]):
        prefix = _prefix(record, k, m)
        own = {n for n in tensors if n.startswith(prefix) and n not in names}
        parameters = {name.removeprefix(prefix): tensors[name] for name in own}
        shape = shape_of(config, features, len(record.labels))
        networks.append(Network(features, shape, parameters))
        names |= own
    return networks, names


def _rows(record: Record, tensors: Mapping[str, Tensor]) -> KnownRows | None:
    """Return the digests of the rows, which must be as many as the record says."""
    if not tensors:
        return None
    rows = KnownRows.from_arrays(
        {name.removeprefix(ROWS_PREFIX): tensor.numpy() for name, tensor in tensors.items()}
    )
    n_rows, n_test = record.table["rows"], record.split["rows"]["test"]
    if (len(rows.used), len(rows.test)) != (n_rows - n_test, n_test):
        raise CheckpointError(f"its digests are not of {n_rows} rows, {n_test} of them test rows")
    return rows


def _read_tensors(path: Path) -> dict[str, Tensor]:
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.dtype not in KINDS:
            raise CheckpointError(f"the tensor {name} is of {tensor.dtype}, which none of them is")
    return tensors


def check_parameters(network: Network) -> None:
    """Raise CheckpointError unless a network's parameters are finite and of its shape."""
    shape = network.shape
    sizes = [shape.features, *[shape.hidden_dim] * shape.num_layers, shape.labels]
    expected: dict[str, tuple[int, ...]] = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        expected[f"layers.{i}.weight"] = (n_in, n_out)
        expected[f"layers.{i}.bias"] = (n_out,)
    found = {name: tuple(tensor.shape) for name, tensor in network.parameters.items()}
    if found != expected:
        raise CheckpointError(f"layers of shapes {found} where the config has {expected}")
    for name, tensor in network.parameters.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{name} holds other than finite float32 numbers")


def _broken(folder: Path, reason: str) -> CheckpointError:
    line = " ".join(reason.split())[:300]
    return CheckpointError(f"the checkpoint at {folder} is broken or of another format: {line}")
