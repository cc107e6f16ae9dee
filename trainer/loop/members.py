"""Runs side by side: each has a member in every fold, and members of one shape make up a stack."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.loop.validation import Validation, validate
from trainer.stack.stack import Stack, member_losses, start_stack
from trainer.stack.tensors import TrainingData
from trainer.steps.epoch import train_epoch
from trainer.steps.inference import predict_logits

Key = tuple[int, tuple[object, ...]]  # the fold, and the stack_key of its members


class Place(NamedTuple):
    """Where a run's member of one fold is."""

    stack: Stack
    position: int


class Members:
    """The members of some runs over one table's folds; runs are known by a number.

    A fold's member starts from a seed of its own, so that the networks of a run differ by more than
    their rows.
    """

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.configs: dict[int, TrainConfig] = {}
        self._stacks: dict[Key, Stack] = {}
        self._runs: dict[Key, list[int]] = {}

    @property
    def runs(self) -> list[int]:
        """The runs that train, in the order of all that has an axis K here."""
        return list(self.configs)

    def add(self, runs: Sequence[int], configs: Sequence[TrainConfig]) -> None:
        """Let runs join, before their first epoch."""
        self.configs.update(zip(runs, configs, strict=True))
        joining: dict[Key, list[int]] = {}
        for run in runs:
            for k in range(len(self.data.folds)):
                joining.setdefault((k, self.configs[run].stack_key), []).append(run)
        for key, members in joining.items():
            seeded = [with_fold_seed(self.configs[run], key[0]) for run in members]
            stack = start_stack(self.data.folds[key[0]], seeded)
            there = self._stacks.get(key)
            self._stacks[key] = stack if there is None else there.join(stack)
            self._runs.setdefault(key, []).extend(members)

    def drop(self, leaving: Collection[int]) -> None:
        """Let runs leave, so that nothing computes for them; a stack without a member is gone."""
        for run in leaving:
            del self.configs[run]
        for key, runs in list(self._runs.items()):
            stay = [k for k, run in enumerate(runs) if run not in leaving]
            if not stay:
                del self._stacks[key], self._runs[key]
            elif len(stay) < len(runs):
                self._stacks[key] = self._stacks[key].select(stay)
                self._runs[key] = [runs[k] for k in stay]

    def train_epoch(self) -> list[float]:
        """Train all members; return each run's mean training loss, the mean over its folds."""
        losses: dict[int, list[float]] = {run: [] for run in self.configs}
        for (fold, shape), stack in self._stacks.items():
            of_members = train_epoch(stack, self.data.folds[fold]).tolist()
            for run, loss in zip(self._runs[fold, shape], of_members, strict=True):
                losses[run].append(loss)
        return [sum(of_folds) / len(of_folds) for of_folds in losses.values()]

    def validate(self) -> Validation:
        """Score all runs on the pooled rows that were held out from their folds."""
        data, row = self.data, {run: k for k, run in enumerate(self.configs)}
        held_out = [
            fold.y_validation.new_empty(len(row), *fold.y_validation.shape) for fold in data.folds
        ]
        losses = torch.zeros(len(row), dtype=torch.float64, device=data.device)
        n_rows = sum(len(fold.places) for fold in data.folds)
        for (k, shape), stack in self._stacks.items():
            fold = data.folds[k]
            logits = predict_logits(stack.parameters, stack.shape, fold.x_validation)
            for position, run in enumerate(self._runs[k, shape]):
                at = slice(position, position + 1)
                loss = member_losses(logits[at], fold.y_validation[None], stack, at).double()
                losses[row[run]] += loss[0] * (len(fold.places) / n_rows)
                held_out[k][row[run]] = torch.sigmoid(logits[position])
        first = next(iter(self.configs.values()))
        return validate(data.pool(held_out), losses, data, first)

    def places(self, run: int) -> list[Place]:
        """Return where the run's members are, fold by fold."""
        keys = [(k, self.configs[run].stack_key) for k in range(len(self.data.folds))]
        return [Place(self._stacks[key], self._runs[key].index(run)) for key in keys]

    def parameters(self, run: int) -> list[Tensor]:
        """Return the run's parameters, fold by fold (P,), as views."""
        return [stack.parameters[position] for stack, position in self.places(run)]


def with_fold_seed(config: TrainConfig, fold: int) -> TrainConfig:
    """Return the config that a fold's member trains with: the run's, with a seed for the fold.

    The first fold has the run's own. Source of the constant: Steele et al. 2014, SplitMix64.
    """
    seed = (config.seed + fold * 0x9E3779B97F4A7C15) % 2**63
    return config.model_copy(update={"seed": seed}) if fold else config
