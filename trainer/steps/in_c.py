"""A chunk of steps in C: steps.c on a stack's tensors, one member after the other."""

import ctypes

import torch
from torch import Tensor

from trainer.stack.draws import dropped_of_256
from trainer.stack.optimizer import CLIP_NORM
from trainer.stack.stack import Program, Stack
from trainer.stack.tensors import FoldData
from trainer.steps.native import Member, library, scratch_for, sizes_of


def compiled(stack: Stack, data: FoldData) -> Program | None:
    """Return the program in C that trains the stack on the data; None if it can't be had."""
    found = library()
    if found is None or data.device.type != "cpu":
        return None
    train, sizes = found.train, sizes_of(stack.shape, stack.batch_size)
    scratch = scratch_for(found, sizes)
    members = [_member(stack, k) for k in range(len(stack))]

    def program(rows: Tensor, keys: Tensor) -> Tensor:
        losses = [
            train(
                ctypes.byref(sizes),
                ctypes.byref(member),
                data.x_train.data_ptr(),
                data.y_train.data_ptr(),
                rows[k].data_ptr(),
                int(keys[k]),
                rows.shape[1],
                scratch.data_ptr(),
            )
            for k, member in enumerate(members)
        ]
        return torch.tensor(losses)

    return program


def _member(stack: Stack, k: int) -> Member:
    config = stack.configs[k]
    return Member(
        parameters=stack.parameters[k].data_ptr(),
        mean=stack.optimizer.mean[k].data_ptr(),
        square=stack.optimizer.square[k].data_ptr(),
        steps=stack.optimizer.steps[k].data_ptr(),
        pos_weight=stack.pos_weight[k].data_ptr(),
        smoothing=stack.smoothing[k].data_ptr(),
        lr=config.lr,
        weight_decay=config.weight_decay,
        gamma=float(stack.gamma[k]),
        max_norm=CLIP_NORM,
        drop=dropped_of_256(config),
    )
