"""What one run shows on stderr while it trains: live on a terminal, a line an epoch elsewhere.

with epoch_view(Console(stderr=True), config, data.labels) as show:
    fit(data, [config], lambda report: (show(report), [True])[1])
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from trainer.commands.terminal import can_animate, cell
from trainer.config import TrainConfig
from trainer.loop.fit import EpochReport
from trainer.loop.history import Row, improves

RECENT = 5  # epochs in the live view
MOST_LABELS = 8  # on a plain line
FRAME = 10  # lines for all that is neither a recent epoch nor a label
FIGURES = {  # heading in the live view, name in a row
    "loss": "loss",
    "validation": "validation_loss",
    "macro-F1": "macro_f1",
    "recall": "macro_recall",
    "ROC AUC": "roc_auc",
}


class EpochView:
    """Shows each EpochReport of a stack of one; the best epoch so far has a star."""

    def __init__(self, console: Console, config: TrainConfig, labels: Sequence[str]) -> None:
        self.console, self.config = console, config
        self.labels = [_printable(label) for label in labels]
        self.started = time.monotonic()
        self.rows: list[Row] = []
        self.best: Row | None = None
        self.of_labels: list[tuple[str, float, float]] = []  # name, F1, share predicted positive
        self.live = False

    def __call__(self, report: EpochReport) -> None:
        """Show an epoch; what is shown live appears with the next refresh."""
        f1, share = report.validation.f1[0], report.validation.predicted_share[0]
        self.of_labels = list(zip(self.labels, f1.tolist(), share.tolist(), strict=True))
        self.add(report.row(0))
        if not self.live:
            self.console.print(self.line(), soft_wrap=True)

    def add(self, row: Row) -> None:
        """Note an epoch, a row of a history; the best if trainer.loop.fit takes it for that."""
        if improves(row, self.best, self.config):
            self.best = row
        self.rows.append(row)

    def line(self) -> Text:
        """Return the last epoch on one line."""
        now, total = self.rows[-1], self.config.epochs
        star = "*" if now is self.best else " "
        shown, before = self.of_labels, ""
        if len(shown) > MOST_LABELS:
            shown, before = [min(shown, key=lambda label: label[1])], "lowest "
        return Text(
            f"epoch {now['epoch']:{len(str(total))}}/{total}{star} "
            f"loss {_short(now['loss'])} validation {_short(now['validation_loss'])} "
            f"macro-F1 {now['macro_f1']:.4f} recall {now['macro_recall']:.4f} "
            f"ROC AUC {now['roc_auc']:.4f}"
            + "".join(f"  {before}{name} {f1:.3f} ({share:.1%})" for name, f1, share in shown)
        )

    def render(self) -> Group:
        """Return the live view, made to fit into the terminal as large as it is now."""
        done = self.rows[-1]["epoch"] if self.rows else 0
        total, best = self.config.epochs, self.best["epoch"] if self.best else 0
        elapsed = timedelta(seconds=int(time.monotonic() - self.started))
        head = Grid.grid(padding=(0, 2))
        head.add_row(
            cell(f"epoch {done}/{total}" + (f", best {best}*" if best else "")),
            ProgressBar(total, done, width=20),
            cell(str(elapsed)),
        )
        return (
            Group(head, "", self._epochs(), "", *self._labels()) if self.of_labels else Group(head)
        )

    def _epochs(self) -> Grid:
        grid = _grid("epoch", *FIGURES)
        shown = self.rows[-RECENT:]
        if self.best is not None and self.best not in shown:
            shown = [self.best, *shown]
        for row in shown:
            star, style = ("*", "bold") if row is self.best else ("", "")
            figures = [_short(row[name]) for name in FIGURES.values()]
            grid.add_row(*map(cell, (f"{star}{row['epoch']}", *figures)), style=style)
        return grid

    def _labels(self) -> Iterator[Grid | Text]:
        """Yield a table of the labels; if they are too many, of those with the lowest F1."""
        room = max(1, self.console.height - FRAME - RECENT)
        shown = self.of_labels
        if len(shown) > room:
            lowest = sorted(shown, key=lambda label: label[1])[:room]
            shown = [label for label in shown if label in lowest]
        grid = _grid("F1", "predicted positive", "label")
        for name, f1, share in shown:
            grid.add_row(*map(cell, (f"{f1:.3f}", f"{share:.1%}", name)))
        yield grid
        if len(shown) < len(self.of_labels):
            yield cell(f"  {len(self.of_labels) - len(shown)} labels with higher F1 not shown")


@contextmanager
def epoch_view(
    console: Console, config: TrainConfig, labels: Sequence[str], history: Sequence[Row] = ()
) -> Iterator[EpochView]:
    """Hand out what shows a run of this config; leaves the last view, and the terminal in order.

    `history` holds the epochs of a run that is resumed. Where `console` can't be animated, each
    epoch is a line.
    """
    view = EpochView(console, config, labels)
    for row in history:
        view.add(row)
    if not can_animate(console):
        legend = (
            "A * marks the best epoch so far. Each label has its F1 and, in brackets, the share of "
            "rows predicted positive."
        )
        console.print(Text(legend), soft_wrap=True)
        yield view
        return
    view.live = True
    with Live(
        console=console, get_renderable=view.render, refresh_per_second=4, redirect_stdout=False
    ):
        yield view


def _grid(*headings: str) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        name = heading == "label"  # the column that gives way where the terminal is narrow
        grid.add_column(heading, justify="left" if name else "right", no_wrap=not name)
    return grid


def _short(value: float) -> str:
    """Return four decimals, or significant digits of what is large."""
    return f"{value:.4f}" if abs(value) < 10 or not math.isfinite(value) else f"{value:.4g}"


def _printable(text: str) -> str:
    """Return text that stays on its line and sends the terminal no commands."""
    return "".join(c if c.isprintable() else "?" for c in text)
