"""What a command computes on: a device, one thread of torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return the device named auto (a GPU if there is one), cpu or cuda; raises ConfigError."""
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name!r} is not known; choose auto, cpu or cuda")
    if name == "cuda" and not has_cuda:
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
