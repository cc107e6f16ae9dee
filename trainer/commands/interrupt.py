"""Ctrl-C, SIGTERM and SIGHUP end a run after the current epoch; a second one ends it at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainer.commands.streams import leave_dead_terminal


class Interrupt:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.asked

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: remember the first, raise KeyboardInterrupt on the second."""
        leave_dead_terminal()
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Hand out an Interrupt that listens to SIGINT, SIGTERM and SIGHUP inside the block.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    interrupt = Interrupt()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt.note) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
