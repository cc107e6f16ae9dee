"""Tables of scores, as the commands print them to stdout."""

import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text

from trainer.steps.compiler import build, without_compiler
from trainer.visible import visible
from trainer.wording import threshold

COLUMNS = {
    "threshold": "threshold",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "AP",
    "roc_auc": "ROC AUC",
}


def result_console() -> Console:
    """Return stdout's console, wide enough for whole tables where it is no terminal."""
    return _console(width=None if sys.stdout.isatty() else 120)


def progress_console() -> Console:
    """Return stderr's console."""
    return _console(stderr=True)


def _console(**settings: Any) -> Console:
    """Return a console that shows text as it is: a label may be named [/b] or :smile:."""
    return _VisibleConsole(markup=False, emoji=False, highlight=False, **settings)


class _VisibleConsole(Console):
    """A console that writes control characters of others' text out instead of obeying them."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a cell or a title, as wide as it will be."""
        return super().render_str(visible(text, keep="\n"), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render as any console does, but for these characters."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, keep="\n"), style, control)

    def on_broken_pipe(self) -> None:
        """Leave it to the command's end that nobody reads: a console would end with status 1."""
        raise


def remark_on_speed(device_type: str) -> None:
    """Say on stderr if training could be faster here, and how."""
    if device_type == "cpu" and build().library is None:
        print("; ".join(without_compiler()), file=sys.stderr)


def can_animate(console: Console) -> bool:
    """Return whether a console takes a live view: a terminal that is not dumb.

    It must really be one, whatever FORCE_COLOR says; NO_COLOR takes the colours only.
    """
    return console.is_interactive and console.file.isatty()


def cell(text: str) -> Text:
    """Return text that stays on its line, its end cut off where there is no room."""
    return Text(visible(text), no_wrap=True, overflow="ellipsis")


def packed(pieces: Sequence[str], width: int) -> list[str]:
    """Return pieces side by side on as few lines as keep them whole within so many columns.

    A piece wider than that has a line of its own.
    """
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) + 2 <= width:
            lines[-1] += f"  {piece}"
        else:
            lines.append(piece)
    return lines


def label_grid(title: str, scores: Mapping[str, Any], doubted: Collection[str] = ()) -> Grid:
    """Return the scores of each label, as Evaluation.to_json has them, as a table.

    A doubted label's threshold is not shown: nobody should rely on it.
    """
    grid = Grid(title=title, title_justify="left")
    grid.add_column("label")
    for heading in (*COLUMNS.values(), "support"):
        grid.add_column(heading, justify="right")
    for label, row in scores["labels"].items():
        numbers = ["-" if row[key] is None else f"{row[key]:.3f}" for key in COLUMNS]
        numbers[0] = "-" if label in doubted else threshold(row["threshold"])
        grid.add_row(label, *numbers, str(row["support"]))
    return grid


def calibration_sentence(scores: Mapping[str, Any], where: str) -> str:
    """Return how right the probabilities are on the rows `where`, or nothing if that is unknown."""
    found = scores.get("calibration", {}).values()
    if not found:
        return ""
    before, after = (
        sum(one[when]["calibration_error"] for one in found) / len(found)
        for when in ("before", "after")
    )
    return (
        f"Probabilities are calibrated: on {where} rows they are {after:.3f} away from the "
        f"observed shares, and were {before:.3f} away as the networks gave them (mean expected "
        "calibration error of the labels)."
    )


def calibration_grid(scores: Mapping[str, Any]) -> Grid:
    """Return how right each label's probabilities are, before and after calibration."""
    grid = Grid(title="Probabilities, before > after calibration", title_justify="left")
    grid.add_column("label")
    for heading in ("positive", "mean", "slope", "intercept", "Brier", "calibration error"):
        grid.add_column(heading, justify="right")
    names = ("mean_probability", "slope", "intercept", "brier", "calibration_error")
    for label, one in scores.get("calibration", {}).items():
        pairs = ((one["before"][name], one["after"][name]) for name in names)
        texts = (" > ".join(map(_number, pair)) for pair in pairs)
        grid.add_row(label, _number(scores["labels"][label]["prevalence"]), *texts)
    return grid


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def shrunk_sentence(shrunk: Sequence[str]) -> str:
    """Return what to say of labels whose thresholds were drawn towards that of all, or nothing."""
    if not shrunk:
        return ""
    return (
        f"{', '.join(shrunk)}: fewer than 10 positives among the validation rows, so the "
        "threshold was drawn towards the one that suits all labels together."
    )


def score_sentence(name: str, value: float, interval: Sequence[float]) -> str:
    """Return a macro score with its 95 % interval, in words."""
    low, high = interval
    return f"{name} macro-F1 {value:.4f} (95 % interval {low:.3f} to {high:.3f})"
