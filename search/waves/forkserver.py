"""A process that has imported what workers need, from which each worker is forked at once.

It imports while the command itself still does, and reads and splits its table.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def context() -> ForkServerContext:
    """Return the context whose processes are forked from it."""
    return multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Start it, unless it runs."""
    context().set_forkserver_preload(["search.waves.workers"])
    with quiet_start():
        forkserver.ensure_running()


@contextmanager
def quiet_start() -> Iterator[None]:
    """Start processes of one thread.

    They leave a terminal's Ctrl-C and its hang-up, which are sent to all, to this one.
    """
    names = [name for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), signal.SIG_IGN) for name in names}
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
