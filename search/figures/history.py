"""How a search went: the score of its trials one after another."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from search.figures.captioned import (
    DOT,
    GREEN,
    PURPLE,
    RING,
    CaptionedFigure,
    add_legend,
    compact,
    scored,
)
from search.figures.words import count, listed, plotly_text, settings_html
from search.space.space import BASELINE, KNOWN_RECIPES
from search.store.records import TrialRecord, complete, score_of
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

RECIPE_SYMBOLS = dict(zip(KNOWN_RECIPES, ("diamond", "square", "triangle-up"), strict=True))
ENDS = {"failed": "x-thin-open", "lost": "cross-thin-open"}
LEGEND = {
    "complete": ("●", BLUE),
    "pruned": ("○", GREY),
    "best so far": ("━", ORANGE),
    **{name: (glyph, GREEN) for name, glyph in zip(KNOWN_RECIPES, "◆■▲", strict=True)},
    "failed": ("✕", PURPLE),
    "lost": ("+", PURPLE),
}


def history_figure(records: Sequence[TrialRecord], score: str) -> CaptionedFigure | None:
    """Draw the score of every trial by its number; None if no trial has one."""
    shown = scored(records)
    if not shown:
        return None
    ranked = complete(shown)
    values = [score_of(record) for record in shown]
    pad = 0.08 * (max(values) - min(values)) or 0.01
    floor = min(values) - pad
    numbers = [record.number for record in records]
    edges = [min(numbers) - 0.02 * len(numbers) - 0.5, max(numbers) + 0.02 * len(numbers) + 0.5]
    figure = plain_figure(
        "Trial", plotly_text(score), edges, [floor - 0.6 * pad, max(values) + pad]
    )
    figure.update_layout(height=340)
    others = [record for record in shown if record.recipe not in RECIPE_SYMBOLS]
    for state, look in (("pruned", RING), ("complete", DOT)):
        _add_trials(figure, [r for r in others if r.state == state], state, look)
    _add_running_best(figure, ranked, max(numbers))
    for record in shown:
        if record.recipe == BASELINE:
            figure.add_hline(y=score_of(record), line={"color": GREEN, "width": 1, "dash": "dot"})
    for recipe, symbol in RECIPE_SYMBOLS.items():
        named = [record for record in shown if record.recipe == recipe]
        _add_trials(figure, named, recipe, {"symbol": symbol, "color": GREEN, "size": 10})
    for state, symbol in ENDS.items():
        ended = [record for record in records if record.state == state]
        line = {"color": PURPLE, "width": 2}
        look = {"symbol": symbol, "size": 8, "color": PURPLE, "line": line}
        _add_trials(figure, ended, state, look, floor)
    add_legend(figure, LEGEND)
    return CaptionedFigure(
        "Search history", figure, _best_caption(ranked, score) + _states(records)
    )


def _add_trials(
    figure: go.Figure,
    records: Sequence[TrialRecord],
    name: str,
    look: Mapping[str, object],
    height: float | None = None,
) -> None:
    """Add a mark for each trial, at its score or else at `height`."""
    if not records:
        return
    ends = ["" if r.value is None else f"{r.value:.4f}" for r in records]
    figure.add_scatter(
        x=np.array([record.number for record in records]),
        y=compact(score_of(record) if height is None else height for record in records),
        name=name,
        mode="markers",
        marker=look,
        cliponaxis=False,
        text=[
            "<br>".join(filter(None, (end, plotly_text(r.failure or ""), settings_html(r.config))))
            for r, end in zip(records, ends, strict=True)
        ],
        hovertemplate=f"trial %{{x}} ({name})<br>%{{text}}<extra></extra>",
    )


def _add_running_best(figure: go.Figure, ranked: Sequence[TrialRecord], last: int) -> None:
    if not ranked:
        return
    in_turn = sorted(ranked, key=lambda record: record.number)
    best = list(itertools.accumulate(map(score_of, in_turn), max))
    figure.add_scatter(
        x=np.array([*(record.number for record in in_turn), last]),
        y=compact([*best, best[-1]]),
        name="best so far",
        mode="lines",
        line={"color": ORANGE, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )


def _best_caption(ranked: Sequence[TrialRecord], score: str) -> str:
    if not ranked:
        return "No trial has ended complete yet. "
    best = ranked[0]
    plain = next((record for record in ranked if record.recipe == BASELINE), None)
    name = f"trial {best.number}" + (f" ({best.recipe})" if best.recipe else "")
    caption = f"The best {score}, {best.value:.4f}, was reached by {name}"
    if plain is not None and plain is not best:
        ahead = score_of(best) - score_of(plain)
        caption += f", {ahead:.4f} above {BASELINE} ({plain.value:.4f})"
    return caption + ". "


def _states(records: Sequence[TrialRecord]) -> str:
    """Return how the trials ended, and which mark is which."""
    marks = {
        "complete": "complete",
        "pruned": "pruned (rings, at their last score)",
        "failed": "failed (crosses at the bottom)",
        "lost": "lost with their process (plus signs at the bottom)",
    }
    states = [record.state for record in records]
    ends = [f"{states.count(state)} {text}" for state, text in marks.items() if state in states]
    return f"{count(len(records), 'trial')}: {listed(ends)}."
