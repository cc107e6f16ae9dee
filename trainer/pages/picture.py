"""A run as one picture: losses and scores over its epochs, as a small SVG that stands alone.

It suits light and dark pages and any kind of colour vision; the colours are those of Okabe and Ito
2008, https://jfly.uni-koeln.de/color/.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import accumulate, groupby
from pathlib import Path

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

    def panel(title: str, keys: Mapping[str, str], note: str = "", scale: float = 1.0) -> str:
        lines = {name: [scale * row[key] for row in rows] for name, key in keys.items()}
        return _panel(title, note, [row["epoch"] for row in rows], best_epoch, lines)

    f1 = {"validated": "macro_f1", "tuned on the same rows": "tuned_macro_f1"}
    ranking = {"ROC AUC": "roc_auc", "average precision": "average_precision"}
    cells = (
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
    best = f"{best_epoch} (dashed)" if best_epoch else "none, no score is finite"
    body = "\n".join(
        f'<g transform="translate({WIDTH * (i % 3)} {HEADER + HEIGHT * (i // 3)})">{cell}</g>'
        for i, cell in enumerate(cells)
    )
    width, height = 3 * WIDTH, HEADER + 2 * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n<title>Training run</title>\n'
        f'<style>{_STYLE}</style>\n<rect class="page" width="{width}" height="{height}"/>\n'
        f'<text x="{LEFT}" y="24">Epochs: {len(history)}; best: {best}</text>\n{body}\n</svg>\n'
    )


def _panel(title: str, note: str, epochs: Sequence[float], best_epoch: int, lines: Lines) -> str:
    """Draw lines within axes, below a note or else their legend."""
    finite = [value for values in lines.values() for value in values if math.isfinite(value)]
    ticks = _ticks(*_range(finite))
    first, last = epochs[0], epochs[-1]
    if first == last:
        first, last = first - 1, last + 1

    def x(epoch: float) -> float:
        return LEFT + (RIGHT - LEFT) * (epoch - first) / (last - first)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = [f'<text class="title" x="{LEFT}" y="16">{title}</text>']
    parts += [f'<text x="{LEFT}" y="35">{note}</text>'] if note else _legend(lines)
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{RIGHT}"/>')
        parts.append(f'<text class="y" x="{LEFT - 7}" y="{y(tick) + 4:.1f}">{tick:.6g}</text>')
    for tick in _ticks(first, last, finest=1.0):
        if epochs[0] <= tick <= epochs[-1]:
            parts.append(f'<text class="x" x="{x(tick):.1f}" y="{BOTTOM + 16}">{tick:.6g}</text>')
    parts.append(f'<text class="y" x="{RIGHT}" y="{BOTTOM + 32}">epoch</text>')
    if best_epoch:
        parts.append(f'<path class="best" d="M{x(best_epoch):.1f} {TOP}V{BOTTOM}"/>')
    for i, (name, values) in reversed(list(enumerate(lines.items()))):
        points = [(x(epoch), y(value)) for epoch, value in zip(epochs, values, strict=True)]
        parts.append(f"<g {_style(i)}><title>{_text(name)}</title>{_strokes(points)}</g>")
    return "\n".join(parts)


def _strokes(points: Sequence[tuple[float, float]]) -> str:
    """Draw a line through neighbours that are finite, a dot where there is no neighbour."""
    strokes = []
    for finite, run in groupby(points, key=lambda point: math.isfinite(point[1])):
        places = [f"{x:.1f},{y:.1f}" for x, y in run if finite]
        if len(places) == 1:
            strokes.append('<circle cx="{}" cy="{}" r="2.5"/>'.format(*places[0].split(",")))
        elif places:
            strokes.append(f'<polyline points="{" ".join(places)}"/>')
    return "".join(strokes)


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


def _legend(names: Iterable[str]) -> list[str]:
    """Name lines side by side; a letter is some 6 px wide."""
    places = accumulate((36 + 6.4 * len(name) for name in names), initial=float(LEFT))
    return [_key(name, i, x, 35) for i, (name, x) in enumerate(zip(names, places, strict=False))]


def _names(labels: Sequence[str]) -> str:
    """Name the labels one below the other, in the cell beside their panels."""
    shown = list(labels[:MOST_LABELS])
    if len(labels) > MOST_LABELS:
        shown.append(f"{len(labels) - MOST_LABELS} more")
    pitch = min(18.0, (HEIGHT - 50) / len(shown))
    keys = [_key(name, i, LEFT, 38 + pitch * i) for i, name in enumerate(shown)]
    return "\n".join([f'<text class="title" x="{LEFT}" y="16">Labels</text>', *keys])


def _key(name: str, i: int, x: float, y: float) -> str:
    short = name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"
    stroke = f'<g {_style(i)}><path d="M{x:.1f} {y - 4:.1f}h20"/></g>'
    return f'{stroke}<text x="{x + 25:.1f}" y="{y:.1f}">{_text(short)}</text>'


def _style(i: int) -> str:
    """Return the look of the i-th line."""
    if i >= MOST_LABELS:
        return 'class="line other"'
    dashes = DASHES[i // len(COLOURS)]
    return f'class="line" stroke="{COLOURS[i % len(COLOURS)]}" stroke-dasharray="{dashes}"'


def _text(name: str) -> str:
    """Escape a name, without the characters that XML can't hold."""
    return escape("".join(c if c.isprintable() else "?" for c in name))


_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #3b424c; }
.title { font-size: 13px; font-weight: 600; }
.x { text-anchor: middle; } .y { text-anchor: end; }
svg { background: #fff; } .page { fill: #fff; }
.grid { stroke: #8a8f98; stroke-opacity: .25; }
.best { stroke: #8a8f98; stroke-width: 1.5; stroke-dasharray: 4 3; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.other { stroke: #8a8f98; stroke-opacity: .5; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #c3c9d1; } svg { background: #15181c; } .page { fill: #15181c; }
}
"""
