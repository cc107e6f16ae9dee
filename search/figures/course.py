"""How a search went: the score of its trials one after another, and epoch by epoch."""

import itertools
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from search.figures.shown import (
    DOT,
    GREEN,
    PURPLE,
    RING,
    Shown,
    add_key,
    compact,
    count,
    listed,
    scored,
    settings,
)
from search.space.space import BASELINE, KNOWN_RECIPES
from search.store.records import TrialRecord, complete, score_of
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

BEST_LINES, MOST_LINES, MOST_EPOCHS = 20, 60, 150
RECIPE_SYMBOLS = dict(zip(KNOWN_RECIPES, ("diamond", "square", "triangle-up"), strict=True))
RECIPE_DASHES = dict(zip(KNOWN_RECIPES, ("solid", "dash", "dot"), strict=True))
ENDS = {"failed": "x-thin-open", "lost": "cross-thin-open"}
HISTORY_KEY = {
    "complete": ("●", BLUE),
    "pruned": ("○", GREY),
    "best so far": ("━", ORANGE),
    **{name: (glyph, GREEN) for name, glyph in zip(KNOWN_RECIPES, "◆■▲", strict=True)},
    "failed": ("✕", PURPLE),
    "lost": ("+", PURPLE),
}
LINES = ("━", "- - -", "· · ·")
CURVES_KEY = {
    "best": ("━", ORANGE),
    "complete": ("━", BLUE),
    "pruned": ("━○", GREY),
    **{name: (glyph, GREEN) for name, glyph in zip(KNOWN_RECIPES, LINES, strict=True)},
}

Curve = Mapping[int, float]  # epoch -> score


def history(records: Sequence[TrialRecord], score: str) -> Shown | None:
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
    figure = plain_figure("Trial", escape(score), edges, [floor - 0.6 * pad, max(values) + pad])
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
    add_key(figure, HISTORY_KEY)
    return Shown("Search history", figure, _best_sentence(ranked, score) + _states(records))


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
            "<br>".join(filter(None, (end, escape(r.failure or ""), settings(r.config))))
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


def _best_sentence(ranked: Sequence[TrialRecord], score: str) -> str:
    if not ranked:
        return "No trial has ended complete yet. "
    best = ranked[0]
    plain = next((record for record in ranked if record.recipe == BASELINE), None)
    name = f"trial {best.number}" + (f" ({best.recipe})" if best.recipe else "")
    sentence = f"The best {score}, {best.value:.4f}, is that of {name}"
    if plain is not None and plain is not best:
        ahead = score_of(best) - score_of(plain)
        sentence += f", {ahead:.4f} above {BASELINE} ({plain.value:.4f})"
    return sentence + ". "


def _states(records: Sequence[TrialRecord]) -> str:
    """Return how the trials ended, and which mark is which."""
    marks = {
        "complete": "complete",
        "pruned": "pruned (rings, at their last score)",
        "failed": "failed (crosses at the foot)",
        "lost": "lost with their process (plus signs there)",
    }
    states = [record.state for record in records]
    ends = [f"{states.count(state)} {text}" for state, text in marks.items() if state in states]
    return f"{count(len(records), 'trial')}: {listed(ends)}."


def learning_curves(
    records: Sequence[TrialRecord], curves: Mapping[int, Curve], score: str
) -> Shown | None:
    """Draw the score of a choice of trials over their epochs; None if no trial has reported any.

    `curves` are the reported scores by number of the trial, all finite.
    """
    reported = [record for record in scored(records) if curves.get(record.number)]
    if not reported:
        return None
    ranked = complete(reported)
    recipes = [record for record in reported if record.recipe in RECIPE_DASHES]
    best = [record for record in ranked[:BEST_LINES] if record not in recipes]
    pruned = [r for r in reported if r.state == "pruned" and r not in recipes]
    pruned = _spread(pruned, MOST_LINES - len(recipes) - len(best))
    figure = plain_figure("Epoch", escape(score))
    figure.update_layout(height=360)
    _add_curves(figure, pruned, curves, "pruned", {"color": GREY, "width": 1}, opacity=0.55)
    _add_ends(figure, pruned, curves)
    _add_curves(figure, best, curves, "complete", {"color": BLUE, "width": 1}, opacity=0.6)
    for record in recipes:
        line = {"color": GREEN, "width": 2, "dash": RECIPE_DASHES[record.recipe or ""]}
        _add_curves(figure, [record], curves, record.recipe or "", line)
    if ranked:
        _add_curves(figure, ranked[:1], curves, "best", {"color": ORANGE, "width": 3})
    add_key(figure, CURVES_KEY)
    drawn = len(recipes) + len(best) + len(pruned)
    sentence = _peak_sentence(ranked, score) + _drawn_sentence(drawn, len(reported), bool(pruned))
    return Shown("Learning curves", figure, sentence.strip())


def _add_curves(
    figure: go.Figure,
    records: Sequence[TrialRecord],
    curves: Mapping[int, Curve],
    name: str,
    line: Mapping[str, object],
    opacity: float = 1.0,
) -> None:
    """Add the curves of these trials as one trace, with gaps between them."""
    points = [(r.number, *point) for r in records for point in _with_gap(curves[r.number])]
    if not points:
        return
    numbers, epochs, values = zip(*points, strict=True)
    figure.add_scatter(
        x=np.array(epochs),
        y=compact(values),
        customdata=np.array(numbers),
        name=name,
        mode="lines",
        line=line,
        opacity=opacity,
        hovertemplate=f"trial %{{customdata}} ({name})<br>epoch %{{x}}<br>%{{y:.4f}}"
        "<extra></extra>",
    )


def _add_ends(
    figure: go.Figure, records: Sequence[TrialRecord], curves: Mapping[int, Curve]
) -> None:
    ends = [max(curves[record.number].items()) for record in records]
    figure.add_scatter(
        x=np.array([epoch for epoch, _ in ends]),
        y=compact(value for _, value in ends),
        mode="markers",
        marker=RING,
        hoverinfo="skip",
    )


def _with_gap(curve: Curve) -> list[tuple[int, float]]:
    """Return at most MOST_EPOCHS points of a curve, its highest among them, and a gap."""
    points = sorted(curve.items())
    kept = {round(at) for at in np.linspace(0, len(points) - 1, MOST_EPOCHS)}
    kept.add(max(range(len(points)), key=lambda at: points[at][1]))
    return [*(points[at] for at in sorted(kept)), (points[-1][0], np.nan)]


def _spread(records: Sequence[TrialRecord], most: int) -> list[TrialRecord]:
    """Return at most so many of the trials, evenly spread over them."""
    at = np.linspace(0, len(records) - 1, min(most, len(records))).round().astype(int)
    return [records[place] for place in at]


def _peak_sentence(ranked: Sequence[TrialRecord], score: str) -> str:
    if not ranked:
        return ""
    best = ranked[0]
    plain = next((record for record in ranked if record.recipe == BASELINE), None)
    peaks = [f"The best trial, {best.number}, had its {score} of {_peak(best)}"]
    if plain is not None and plain is not best:
        peaks.append(f"{BASELINE} its {_peak(plain)}")
    return f"{', '.join(peaks)}. "


def _peak(record: TrialRecord) -> str:
    return f"{record.value:.4f} in epoch {record.best_epoch} of {record.epochs}"


def _drawn_sentence(drawn: int, reported: int, has_pruned: bool) -> str:
    sentence = ""
    if drawn < reported:
        spread = " and an even spread of the pruned ones" if has_pruned else ""
        sentence = (
            f"Drawn are {drawn} of {count(reported, 'trial')}: the best {BEST_LINES}, "
            f"the known recipes{spread}. "
        )
    return sentence + ("A ring is where a trial was pruned." if has_pruned else "")
