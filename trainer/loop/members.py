"""Members of any shapes side by side: those of one shape make up a stack."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.loop.validation import Validation, validate
from trainer.stack.stack import Stack, start_stack
from trainer.stack.tensors import TrainingData
from trainer.steps.epoch import train_epoch


class Stacks:
    """Stacks by their `stack_key`, over one table's tensors; members are known by a number."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self._stacks: dict[tuple[object, ...], Stack] = {}
        self._members: dict[tuple[object, ...], list[int]] = {}

    @property
    def members(self) -> list[int]:
        """The members, stack by stack: the order of all that has an axis K here."""
        return [member for members in self._members.values() for member in members]

    def add(self, members: Sequence[int], configs: Sequence[TrainConfig]) -> None:
        """Let members join, before their first epoch."""
        joining: dict[tuple[object, ...], list[tuple[int, TrainConfig]]] = {}
        for member, config in zip(members, configs, strict=True):
            joining.setdefault(config.stack_key, []).append((member, config))
        for key, pairs in joining.items():
            stack = start_stack(self.data, [config for _, config in pairs])
            there = self._stacks.get(key)
            self._stacks[key] = stack if there is None else there.join(stack)
            self._members.setdefault(key, []).extend(member for member, _ in pairs)

    def drop(self, leaving: Collection[int]) -> None:
        """Let members leave, so that nothing computes for them; a stack without any is gone."""
        for key, members in list(self._members.items()):
            stay = [k for k, member in enumerate(members) if member not in leaving]
            if not stay:
                del self._stacks[key], self._members[key]
            elif len(stay) < len(members):
                self._stacks[key] = self._stacks[key].select(stay)
                self._members[key] = [members[k] for k in stay]

    def train_epoch(self) -> Tensor:
        """Train all members on N rows; return the mean training loss of each (K,)."""
        return torch.cat([train_epoch(stack, self.data) for stack in self._stacks.values()])

    def validate(self) -> Validation:
        """Score all members on the validation rows."""
        return validate(list(self._stacks.values()), self.data)

    def place(self, member: int) -> tuple[Stack, int]:
        """Return the stack of a member, and its place there."""
        key = next(key for key, members in self._members.items() if member in members)
        return self._stacks[key], self._members[key].index(member)

    def parameters(self) -> list[Tensor]:
        """Return each member's parameters (P,), as views."""
        return [row for stack in self._stacks.values() for row in stack.parameters]
