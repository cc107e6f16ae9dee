"""Signals that end a command: at once, but in order; or, in a run, after the current epoch."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainer.commands.streams import leave_dead_terminal

ENDING = ("SIGTERM", "SIGHUP")  # signals that end a command in order, as Ctrl-C does


class Stopped(BaseException):
    """A signal asked the command to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Ending:
    """Handles a signal by raising Stopped; `came` is the last one's number, None before any.

    Code that calls back from C may swallow what is raised, so that somebody has to ask for `came`.
    """

    def __init__(self) -> None:
        self.came: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        leave_dead_terminal()
        self.came = number
        raise Stopped(number)

    def check(self) -> None:
        """Raise Stopped for a signal that came and was swallowed."""
        if self.came is not None:
            raise Stopped(self.came)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Let signals that would end the program at once end it by an exception, so that it cleans up.

    One that is ignored, as under nohup, stays so.
    """
    ending, hook = Ending(), sys.unraisablehook
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}

    def without_stopped(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            hook(unraisable)

    sys.unraisablehook = without_stopped
    for number in before:
        signal.signal(number, ending)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


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

    The first signal ends a run after the current epoch, a second one at once. A SIGHUP that is
    ignored, as under nohup, stays so. Raises Stopped for a signal that came before the block and
    was swallowed.
    """
    interrupt = Interrupt()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt.note) for number in numbers}
    try:
        for handler in previous.values():
            if isinstance(handler, Ending):
                handler.check()
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
