"""A run's held-out probabilities and its networks in one file: what an ensemble is chosen from.

Probabilities are kept in half precision, which is enough to choose by. Parameters are whole, so
that what is chosen predicts as the run did. Features are not kept: the table has them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainer.errors import CheckpointError

HELD_OUT = "held_out"


@dataclass(frozen=True)
class HeldOut:
    """The probabilities (V, L) float16 of the pooled rows, and each fold's network.

    Parameters are float32, named and shaped as in trainer.stack.model. `about` says whose they are.
    """

    probabilities: Tensor
    networks: tuple[dict[str, Tensor], ...]
    about: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Return the file's content; `from_bytes` takes it back."""
        stored = {HELD_OUT: self.probabilities.contiguous()}
        for k, network in enumerate(self.networks):
            stored |= {f"{k}.{name}": tensor.contiguous() for name, tensor in network.items()}
        return save(stored, dict(self.about))

    @classmethod
    def from_bytes(cls, content: bytes) -> "HeldOut":
        """Read a file's content; raises CheckpointError if it is not one that `to_bytes` made."""
        try:
            tensors = load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        except (SafetensorError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"its predictions can't be read: {reason}") from None
        probabilities = tensors.pop(HELD_OUT, torch.empty(0))
        if probabilities.dtype != torch.float16 or probabilities.ndim != 2:
            raise CheckpointError("its predictions are no table of half precision")
        if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
            raise CheckpointError("its predictions are not all from 0 to 1")
        return cls(probabilities, _networks(tensors), header.get("__metadata__", {}))


def _networks(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Sort tensors by their fold; raises CheckpointError where a name has none."""
    folds: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        fold, _, own = name.partition(".")
        if not fold.isdecimal() or not own:
            raise CheckpointError(f"the tensor {name} belongs to none of its networks")
        folds.setdefault(int(fold), {})[own] = tensor
    if sorted(folds) != list(range(len(folds))):
        raise CheckpointError("a network of its folds is missing")
    return tuple(folds[k] for k in range(len(folds)))
