"""What a command computes on: a device, one thread of torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return the device named cpu or cuda; raises ConfigError.

    auto is the CPU: a search's stacks change too often for a GPU to pay, see benchmarks/README.md.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {name!r} is not known; choose auto, cpu or cuda")
    if name == "auto":
        name = "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: this torch finds no CUDA device; use --device cpu, or install a CUDA "
            "build of torch and a driver"
        )
    return torch.device(name)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread inside the block, and as before after it.

    These networks are too small to be shared among threads, and results are the same bits only
    where the number of threads is the same.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
