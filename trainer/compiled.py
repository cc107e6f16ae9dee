"""A chunk of steps in C: steps.c on a stack's tensors, one member after the other."""

import ctypes

import torch
from torch import Tensor

from trainer.compiler import build
from trainer.data import TrainingData
from trainer.draws import dropped_of_256
from trainer.optimizer import CLIP_NORM
from trainer.stack import Program, Stack

INTEGER, FLOAT, POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, INTEGER)
        for name in ("inputs", "hidden", "layers", "outputs", "labels", "batch", "parameters")
    ]


class _Member(ctypes.Structure):
    _fields_ = [
        *(
            (name, POINTER)
            for name in ("parameters", "mean", "square", "steps", "pos_weight", "smoothing")
        ),
        *((name, FLOAT) for name in ("lr", "weight_decay", "gamma", "max_norm")),
        ("drop", INTEGER),
    ]


def compiled(stack: Stack, data: TrainingData) -> Program | None:
    """Return the program in C that trains the stack on the data; None if it can't be had."""
    library = build().library
    if library is None or data.device.type != "cpu":
        return None
    shape = _shape(stack)
    library.scratch_floats.restype = INTEGER
    scratch = torch.zeros(library.scratch_floats(ctypes.byref(shape)))
    members = [_member(stack, k) for k in range(len(stack))]
    train = library.train
    train.restype = FLOAT
    train.argtypes = [POINTER] * 5 + [ctypes.c_int32, INTEGER, POINTER]

    def program(rows: Tensor, keys: Tensor) -> Tensor:
        losses = [
            train(
                ctypes.byref(shape),
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


def _shape(stack: Stack) -> _Shape:
    shape = stack.shape
    return _Shape(
        inputs=shape.inputs,
        hidden=shape.hidden,
        layers=shape.num_layers,
        outputs=shape.outputs,
        labels=shape.labels,
        batch=stack.batch_size,
        parameters=shape.parameters,
    )


def _member(stack: Stack, k: int) -> _Member:
    config = stack.configs[k]
    return _Member(
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
