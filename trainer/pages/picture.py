"""A run as one picture: losses and scores over its epochs, as a small SVG that stands alone.

It suits light and dark pages and any kind of colour vision; the colours are those of Okabe and Ito
2008, https://jfly.uni-koeln.de/color/.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from pathlib import Path

from trainer.pages.html import render
from trainer.writing import write_whole

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
DASHES = ("none", "7 3", "2 3")  # each gives the colours to as many lines again
MOST_LABELS = len(COLOURS) * len(DASHES)  # told apart; more are drawn in grey
MOST_EPOCHS = 600  # drawn; of more, every n-th
MOST_LETTERS = 44  # of a name in the legend
WIDTH, HEIGHT, HEADER = 380, 276, 36  # of a panel, and above the panels
LEFT, RIGHT, TOP, BOTTOM = 52, 366, 50, 230  # the frame within a panel

Row = Mapping[str, float]
Lines = Mapping[str, Sequence[float]]  # the values of each name, one an epoch


@dataclass(frozen=True)
class _Key:
    """A name in a legend beside a piece of its line, the `place`-th; x and y in pixels."""

    name: str
    place: int
    x: float
    y: float


@dataclass(frozen=True)
class _Line:
    """A line as strokes, each of at least one point "x,y" in pixels; one alone is a dot."""

    name: str
    place: int
    strokes: list[list[str]]


@dataclass(frozen=True)
class _Panel:
    """A cell of the picture: a legend or a note, and lines within axes if it has any.

    A tick is its place in pixels and its number; `best` is the place of the best epoch.
    """

    title: str
    note: str
    keys: list[_Key]
    lines: list[_Line] = field(default_factory=list)
    x_ticks: list[tuple[float, float]] = field(default_factory=list)
    y_ticks: list[tuple[float, float]] = field(default_factory=list)
    best: float | None = None


def write_picture(
    path: Path, history: Sequence[Row], labels: Sequence[str], best_epoch: int
) -> None:
    """Write the picture to `path`, whole or not at all; raises RaretuneError if it can't be.

    `history` (a row an epoch, at least one) and `best_epoch` (from 1, or 0 if there is none) are
    those of a TrainResult. A value that is not finite leaves a gap.
    """
    write_whole(path, draw_picture(history, labels, best_epoch), "--output_dir")


def draw_picture(history: Sequence[Row], labels: Sequence[str], best_epoch: int) -> str:
    """Return the SVG; arguments as in `write_picture`."""
    step = math.ceil(len(history) / MOST_EPOCHS)
    kept = {*range(0, len(history), step), max(best_epoch - 1, 0), len(history) - 1}
    rows = [history[i] for i in sorted(kept)]

    def panel(title: str, keys: Mapping[str, str], note: str = "", scale: float = 1.0) -> _Panel:
        lines = {name: [scale * row[key] for row in rows] for name, key in keys.items()}
        return _panel(title, note, [row["epoch"] for row in rows], best_epoch, lines)

    f1 = {"validated": "macro_f1", "tuned on the same rows": "tuned_macro_f1"}
    ranking = {"ROC AUC": "roc_auc", "average precision": "average_precision"}
    panels = (
        panel("Loss", {"training": "loss", "validation": "validation_loss"}),
        panel("Macro-F1", f1),
        panel("Ranking and recall", {**ranking, "recall": "macro_recall"}),
        panel("F1 of each label", {name: f"f1_{name}" for name in labels}, "on validation rows"),
        panel(
            "Predicted positive",
            {name: f"predicted_share_{name}" for name in labels},
            "% of the validation rows",
            scale=100.0,
        ),
        _names(labels),
    )
    return render(
        Path(__file__).with_suffix(".svg"),
        size=(3 * WIDTH, HEADER + 2 * HEIGHT),
        places=[(WIDTH * (i % 3), HEADER + HEIGHT * (i // 3)) for i in range(len(panels))],
        panels=panels,
        frame=(LEFT, RIGHT, TOP, BOTTOM),
        colours=COLOURS,
        dashes=DASHES,
        n_epochs=len(history),
        best=f"{best_epoch} (dashed)" if best_epoch else "none, no score is finite",
    )


def _panel(title: str, note: str, epochs: Sequence[float], best_epoch: int, lines: Lines) -> _Panel:
    """Place lines within axes, below a note or else their legend."""
    finite = [value for values in lines.values() for value in values if math.isfinite(value)]
    ticks = _ticks(*_range(finite))
    first, last = epochs[0], epochs[-1]
    if first == last:
        first, last = first - 1, last + 1

    def x(epoch: float) -> float:
        return LEFT + (RIGHT - LEFT) * (epoch - first) / (last - first)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    return _Panel(
        title=title,
        note=note,
        keys=[] if note else _legend(lines),
        lines=[
            _Line(_text(name), i, _strokes(list(zip(map(x, epochs), map(y, values), strict=True))))
            for i, (name, values) in enumerate(lines.items())
        ],
        x_ticks=[
            (x(tick), tick)
            for tick in _ticks(first, last, finest=1.0)
            if epochs[0] <= tick <= epochs[-1]
        ],
        y_ticks=[(y(tick), tick) for tick in ticks],
        best=x(best_epoch) if best_epoch else None,
    )


def _strokes(points: Sequence[tuple[float, float]]) -> list[list[str]]:
    """Return a stroke through neighbours that are finite."""
    runs = groupby(points, key=lambda point: math.isfinite(point[1]))
    return [[f"{x:.1f},{y:.1f}" for x, y in run] for finite, run in runs if finite]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: from 0, unless all values are in the upper half; never equal."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if 0 < low < high / 2:
        low = 0.0
    if high - low > 1e-6 * max(abs(low), abs(high), 1e-6):
        return low, high
    return (low - abs(low) / 2, high + abs(high) / 2) if abs(low) > 1e-12 else (0.0, 1.0)


def _ticks(low: float, high: float, finest: float = 0.0) -> list[float]:
    """Return about five round numbers from at most `low` to at least `high`, `finest` apart."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = max(
        finest, next((m * power for m in (1, 2, 5) if 5 * m * power >= high - low), 10 * power)
    )
    return [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _legend(names: Iterable[str]) -> list[_Key]:
    """Name lines side by side; a letter is some 6 px wide."""
    places = accumulate((36 + 6.4 * len(name) for name in names), initial=float(LEFT))
    return [_key(name, i, x, 35) for i, (name, x) in enumerate(zip(names, places, strict=False))]


def _names(labels: Sequence[str]) -> _Panel:
    """Name the labels one below the other, in the cell beside their panels."""
    shown = list(labels[:MOST_LABELS])
    if len(labels) > MOST_LABELS:
        shown.append(f"{len(labels) - MOST_LABELS} more")
    pitch = min(18.0, (HEIGHT - 50) / len(shown))
    keys = [_key(name, i, LEFT, 38 + pitch * i) for i, name in enumerate(shown)]
    return _Panel("Labels", "", keys)


def _key(name: str, i: int, x: float, y: float) -> _Key:
    short = name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"
    return _Key(_text(short), i, x, y)


def _text(name: str) -> str:
    """Return a name without the characters that XML can't hold."""
    return "".join(c if c.isprintable() else "?" for c in name)
