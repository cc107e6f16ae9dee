"""What decides a trial's bits apart from its config and its table; noted with every trial."""

import platform

import torch

from trainer.checkpoint import library_versions
from trainer.steps.compiler import build


def environment() -> dict[str, str]:
    """Return the versions, threads, processor and kind of steps that a trial trains with."""
    return {
        **library_versions(),
        "threads": str(torch.get_num_threads()),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "steps": build().how,
    }
