"""The functions of steps.c, as Python calls them."""

import ctypes
from functools import cache

import torch
from torch import Tensor

from trainer.stack.model import Shape
from trainer.steps.compiler import build

INTEGER, FLOAT, POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class Sizes(ctypes.Structure):
    """A network's sizes as they lie in memory, and those of a batch."""

    _fields_ = [
        (name, INTEGER)
        for name in ("inputs", "hidden", "layers", "outputs", "labels", "batch", "parameters")
    ]


class Member(ctypes.Structure):
    """Where one member's tensors are, and its own settings; see steps.c."""

    _fields_ = [
        *(
            (name, POINTER)
            for name in ("parameters", "mean", "square", "steps", "pos_weight", "smoothing")
        ),
        *((name, FLOAT) for name in ("lr", "weight_decay", "gamma", "max_norm")),
        ("drop", INTEGER),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """Return steps.c with the types of its functions; None where it could not be compiled."""
    found = build().library
    if found is not None:
        found.scratch_floats.argtypes = [POINTER]
        found.scratch_floats.restype = INTEGER
        found.train.argtypes = [POINTER] * 5 + [ctypes.c_int32, INTEGER, POINTER]
        found.train.restype = FLOAT
        found.predict.argtypes = [POINTER, POINTER, POINTER, INTEGER, POINTER, POINTER]
        found.predict.restype = None
    return found


def sizes_of(shape: Shape, batch_size: int) -> Sizes:
    """Return the sizes of a network that reads so many rows at once."""
    return Sizes(
        inputs=shape.inputs,
        hidden=shape.hidden,
        layers=shape.num_layers,
        outputs=shape.outputs,
        labels=shape.labels,
        batch=batch_size,
        parameters=shape.parameters,
    )


def scratch_for(found: ctypes.CDLL, sizes: Sizes) -> Tensor:
    """Return the room that steps.c works in, to hand to it again and again."""
    return torch.zeros(found.scratch_floats(ctypes.byref(sizes)))
