"""How the best trials combine their settings: a line a trial, an axis a setting."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from search.figures.captioned import CaptionedFigure, compact, scored
from search.figures.words import count
from search.space.space import is_active
from search.store.records import TrialRecord, complete, score_of
from trainer.config import CLASS_WEIGHT_METHODS, LOSS_TYPES, WEIGHT_METHODS
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

MOST_LINES = 100
PIXELS = 1000  # wide enough for nine axes
MOST_TICKS = 8
IDLE = "-"  # the tick of what is not active in a trial
SHORT = {"weighted_bce": "weighted", "very_aggressive": "very aggr.", "inverse_sqrt": "inv. sqrt"}
LOG_TICKS = [mark * 10.0**power for power in range(-7, 4) for mark in (1, 2, 5)]
FONT = {"size": 12, "color": GREY}

KEYS = {
    "loss_type",
    "weight_method",
    "class_weight_method",
    "class_weight_multiplier",
    "lr",
    "batch_size",
    "dropout",
    "num_layers",
    "hidden_dim",
}

Dimension = dict[str, Any]


def parallel_coordinate_figure(
    records: Sequence[TrialRecord], score: str
) -> CaptionedFigure | None:
    """Draw the best trials over all settings that differ among them; None if none does.

    Of all figures this one alone has a fixed width.
    """
    ranked = complete(scored(records))
    shown = [record for record in ranked if record.config.keys() >= KEYS][:MOST_LINES]
    dimensions = [d for d in _dimensions(shown) if len(set(d["values"].tolist())) > 1]
    values = compact(map(score_of, shown))
    if not dimensions or len(set(values.tolist())) < 2:
        return None
    scale = [[0, GREY], [0.6, BLUE], [1, ORANGE]]
    figure = plain_figure("", "")
    figure.add_parcoords(
        line={"color": values, "colorscale": scale},
        dimensions=[*dimensions, {"label": score, "values": values, "tickformat": ".3f"}],
        labelfont=FONT,
        tickfont={**FONT, "size": 11, "shadow": "none"},
        rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        labelside="top",
    )
    figure.update_layout(width=PIXELS, height=380, margin={"l": 60, "r": 50, "t": 44, "b": 16})
    return CaptionedFigure(
        "How the best trials combine them", figure, _caption(shown, ranked, score)
    )


def _dimensions(records: Sequence[TrialRecord]) -> list[Dimension]:
    return [
        _choices(records, "loss_type", "loss", LOSS_TYPES),
        _choices(records, "weight_method", "sampling", WEIGHT_METHODS),
        _choices(records, "class_weight_method", "class weights", CLASS_WEIGHT_METHODS),
        _numbers(records, "class_weight_multiplier", "multiplier", math.log10),
        _numbers(records, "lr", "learning rate", math.log10),
        _numbers(records, "batch_size", "batch size", math.log2),
        _numbers(records, "dropout", "dropout", float),
        _numbers(records, "num_layers", "layers", float),
        _numbers(records, "hidden_dim", "width", math.log2),
    ]


def _choices(
    records: Sequence[TrialRecord], key: str, label: str, order: Iterable[str]
) -> Dimension:
    """Return an axis of the choices that occur, in this order, inactive ones first."""
    chosen = [r.config[key] if is_active(key, r.config) else IDLE for r in records]
    ticks = [choice for choice in (IDLE, *order) if choice in chosen]
    return {
        "label": label,
        "values": compact(ticks.index(choice) for choice in chosen),
        "tickvals": list(range(len(ticks))),
        "ticktext": [SHORT.get(tick, tick) for tick in ticks],
    }


def _numbers(
    records: Sequence[TrialRecord], key: str, label: str, scale: Callable[[float], float]
) -> Dimension:
    """Return an axis of numbers on this scale; inactive ones are a step below the lowest."""
    known = sorted({r.config[key] for r in records if is_active(key, r.config)})
    if not known:
        return {"label": label, "values": compact([0.0])}
    low, high = scale(known[0]), scale(known[-1])
    below = low - 0.15 * ((high - low) or 1.0)
    values = [scale(r.config[key]) if is_active(key, r.config) else below for r in records]
    marked = known if len(known) <= MOST_TICKS else _marks(known[0], known[-1], scale)
    ticks = {scale(mark): f"{mark:g}" for mark in marked}
    if below in values:
        ticks[below] = IDLE
    return {
        "label": label,
        "values": compact(values),
        "tickvals": list(ticks),
        "ticktext": list(ticks.values()),
    }


def _marks(low: float, high: float, scale: Callable[[float], float]) -> list[float]:
    """Return round numbers from low to high."""
    if scale is not float:
        return [mark for mark in LOG_TICKS if low <= mark <= high]
    step = 10.0 ** math.floor(math.log10(high - low))
    return [at * step for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _caption(shown: Sequence[TrialRecord], ranked: Sequence[TrialRecord], score: str) -> str:
    which = f"the best {len(shown)} of " if len(shown) < len(ranked) else ""
    return (
        f"A line is a trial: {which}{count(len(ranked), 'complete trial')}, {score} from "
        f"{score_of(shown[-1]):.4f} (grey) to {score_of(shown[0]):.4f} (orange); at a {IDLE} "
        "passes a trial that makes no use of that setting. Drag along an axis to select lines."
    )
