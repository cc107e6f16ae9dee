"""What networks answer: in C where a compiler is at hand, else in torch's operations."""

import ctypes

import torch
from torch import Tensor

from trainer.stack.model import Shape, forward, layers_of
from trainer.steps.native import library, scratch_for, sizes_of

ROWS_AT_ONCE = 32768
ROWS_IN_CACHE = 64


@torch.no_grad()
def predict_logits(flat: Tensor, shape: Shape, x: Tensor) -> Tensor:
    """Return logits (K, N, L) of the same rows x (N, inputs) for every member, all float32.

    Members go one at a time and rows in chunks, so memory stays flat and neighbours play no part.
    """
    logits = x.new_empty(len(flat), len(x), shape.labels)
    found = library() if x.device.type == "cpu" else None
    if found is None:
        _in_torch(flat, shape, x, logits)
    else:
        _in_c(found, flat.contiguous(), shape, x.contiguous(), logits)
    return logits


def predict_probabilities(flat: Tensor, shape: Shape, x: Tensor) -> Tensor:
    """Return probabilities (K, N, L), the sigmoid of `predict_logits`, float32."""
    return torch.stack([torch.sigmoid(member) for member in predict_logits(flat, shape, x)])


def _in_torch(flat: Tensor, shape: Shape, x: Tensor, logits: Tensor) -> None:
    for member, out in zip(flat, logits, strict=True):
        layers = layers_of(member[None], shape)
        for start in range(0, len(x), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            out[rows] = forward(layers, x[None, rows])[-1][0, :, : shape.labels]


def _in_c(found: ctypes.CDLL, flat: Tensor, shape: Shape, x: Tensor, logits: Tensor) -> None:
    sizes = sizes_of(shape, ROWS_IN_CACHE)
    scratch = scratch_for(found, sizes)
    for member, out in zip(flat, logits, strict=True):
        found.predict(
            ctypes.byref(sizes),
            member.data_ptr(),
            x.data_ptr(),
            len(x),
            out.data_ptr(),
            scratch.data_ptr(),
        )
