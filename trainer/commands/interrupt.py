"""Ctrl-C and SIGTERM end a run after the current epoch; a second one ends it at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.asked

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: remember the first, raise KeyboardInterrupt on the second."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Hand out an Interrupt that listens to SIGINT and SIGTERM inside the block."""
    interrupt = Interrupt()
    previous = {
        number: signal.signal(number, interrupt.note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
