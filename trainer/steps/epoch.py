"""One epoch of a stack: rows are drawn, then trained on, a chunk of steps at a time."""

from dataclasses import replace

import torch
from torch import Tensor

from trainer.stack.draws import draw_keys, draw_rows
from trainer.stack.stack import Program, Stack
from trainer.stack.tensors import FoldData
from trainer.steps.cuda_graph import recorded
from trainer.steps.in_c import compiled
from trainer.steps.in_torch import eager
from trainer.steps.native import library

ROWS_A_CHUNK = {"cpu": 512, "cuda": 4096}  # of a member: what stays in cache, what fills a GPU


def stacks_pay(device: torch.device) -> bool:
    """Return whether members of one shape train faster than others: in torch they do, not in C."""
    return device.type == "cuda" or library() is None


def train_epoch(stack: Stack, data: FoldData) -> Tensor:
    """Train every member on N rows, in place; return the mean training loss of each (K,)."""
    if stack.program is None:
        stack.program = _program(replace(stack), data)  # of a copy: a cycle would outlive the stack
    rows = draw_rows(stack, len(data.x_train))
    steps = max(1, ROWS_A_CHUNK[data.device.type] // stack.batch_size)
    chunks = torch.split(rows, steps, dim=1)
    keys = draw_keys(stack, len(chunks))
    total = torch.zeros(len(stack), device=data.device)
    for chunk, key in zip(chunks, keys.unbind(1), strict=True):
        total += stack.program(chunk, key)
    return total / rows.shape[1]


def _program(stack: Stack, data: FoldData) -> Program:
    if data.device.type == "cuda":
        return recorded(eager(stack, data))
    return compiled(stack, data) or eager(stack, data)
