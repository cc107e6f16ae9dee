"""A function of tensors as a CUDA graph: recorded once, replayed from then on.

The kernels of so small networks run shorter than it takes to launch them. A graph launches a whole
chunk of steps at once, and nothing waits for the host in between.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[..., Tensor]


@dataclass
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor | None, ...]
    output: Tensor


def recorded(function: Function) -> Function:
    """Return a function that does the same on tensors (or None) of a CUDA device.

    The first call runs the function as it is, on a stream of its own, as a recording wants it; the
    second one with inputs of the same shapes records it. Inputs of other shapes, as in an epoch's
    last chunk, are never recorded. What else the function reads and changes in place must stay
    where it is.
    """
    recording: _Recording | None = None
    shapes: tuple[torch.Size | None, ...] | None = None

    def run(*inputs: Tensor | None) -> Tensor:
        nonlocal recording, shapes
        found = tuple(None if tensor is None else tensor.shape for tensor in inputs)
        if found != shapes:
            shapes = shapes or found
            return _aside(function, inputs)
        if recording is None:
            recording = _record(function, inputs)
        for kept, tensor in zip(recording.inputs, inputs, strict=True):
            if kept is not None and tensor is not None:
                kept.copy_(tensor)
        recording.graph.replay()
        return recording.output.clone()

    return run


def _aside(function: Function, inputs: tuple[Tensor | None, ...]) -> Tensor:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    current = torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        output = function(*inputs)
    current.wait_stream(stream)
    return output


def _record(function: Function, inputs: tuple[Tensor | None, ...]) -> _Recording:
    kept = tuple(None if tensor is None else tensor.clone() for tensor in inputs)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*kept)
    return _Recording(graph, kept, output)
