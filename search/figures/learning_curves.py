"""How trials learnt: the score of the best, of the recipes and of some others, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from search.figures.captioned import (
    GREEN,
    RING,
    CaptionedFigure,
    add_legend,
    compact,
    scored,
)
from search.figures.words import count, plotly_text
from search.space.space import BASELINE, KNOWN_RECIPES
from search.store.records import TrialRecord, complete
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

BEST_LINES, MOST_LINES, MOST_EPOCHS = 20, 60, 150
RECIPE_DASHES = dict(zip(KNOWN_RECIPES, ("solid", "dash", "dot"), strict=True))
LINES = ("━", "- - -", "· · ·")
LEGEND = {
    "best": ("━", ORANGE),
    "complete": ("━", BLUE),
    "pruned": ("━○", GREY),
    **{name: (glyph, GREEN) for name, glyph in zip(KNOWN_RECIPES, LINES, strict=True)},
}


def learning_curve_figure(records: Sequence[TrialRecord], score: str) -> CaptionedFigure | None:
    """Draw the score of some trials over their epochs; None if no trial has reported any."""
    reported = [record for record in scored(records) if _finite(record)]
    if not reported:
        return None
    ranked = complete(reported)
    recipes = [record for record in reported if record.recipe in RECIPE_DASHES]
    best = [record for record in ranked[:BEST_LINES] if record not in recipes]
    pruned = [r for r in reported if r.state == "pruned" and r not in recipes]
    pruned = _spread(pruned, MOST_LINES - len(recipes) - len(best))
    figure = plain_figure("Epoch", plotly_text(score))
    figure.update_layout(height=360)
    _add_curves(figure, pruned, "pruned", {"color": GREY, "width": 1}, opacity=0.55)
    _add_ends(figure, pruned)
    _add_curves(figure, best, "complete", {"color": BLUE, "width": 1}, opacity=0.6)
    for record in recipes:
        line = {"color": GREEN, "width": 2, "dash": RECIPE_DASHES[record.recipe or ""]}
        _add_curves(figure, [record], record.recipe or "", line)
    if ranked:
        _add_curves(figure, ranked[:1], "best", {"color": ORANGE, "width": 3})
    add_legend(figure, LEGEND)
    drawn = len(recipes) + len(best) + len(pruned)
    caption = _peak_caption(ranked, score) + _drawn_caption(drawn, len(reported), bool(pruned))
    return CaptionedFigure("Learning curves", figure, caption.strip())


def _add_curves(
    figure: go.Figure,
    records: Sequence[TrialRecord],
    name: str,
    line: Mapping[str, object],
    opacity: float = 1.0,
) -> None:
    """Add the curves of these trials as one trace, with gaps between them."""
    points = [(r.number, *point) for r in records for point in _with_gap(_finite(r))]
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


def _add_ends(figure: go.Figure, records: Sequence[TrialRecord]) -> None:
    ends = [max(_finite(record).items()) for record in records]
    figure.add_scatter(
        x=np.array([epoch for epoch, _ in ends]),
        y=compact(value for _, value in ends),
        mode="markers",
        marker=RING,
        hoverinfo="skip",
    )


def _finite(record: TrialRecord) -> dict[int, float]:
    return {epoch: score for epoch, score in record.curve.items() if math.isfinite(score)}


def _with_gap(curve: Mapping[int, float]) -> list[tuple[int, float]]:
    """Return at most MOST_EPOCHS points of a curve, its highest among them, and a gap."""
    points = sorted(curve.items())
    kept = {round(at) for at in np.linspace(0, len(points) - 1, MOST_EPOCHS)}
    kept.add(max(range(len(points)), key=lambda at: points[at][1]))
    return [*(points[at] for at in sorted(kept)), (points[-1][0], np.nan)]


def _spread(records: Sequence[TrialRecord], most: int) -> list[TrialRecord]:
    """Return at most `most` of the trials, evenly spread over them."""
    at = np.linspace(0, len(records) - 1, min(most, len(records))).round().astype(int)
    return [records[place] for place in at]


def _peak_caption(ranked: Sequence[TrialRecord], score: str) -> str:
    if not ranked:
        return ""
    best = ranked[0]
    plain = next((record for record in ranked if record.recipe == BASELINE), None)
    peaks = [f"The best trial, {best.number}, reached its {score} of {_peak(best)}"]
    if plain is not None and plain is not best:
        peaks.append(f"{BASELINE} reached {_peak(plain)}")
    return f"{', '.join(peaks)}. "


def _peak(record: TrialRecord) -> str:
    return f"{record.value:.4f} in epoch {record.best_epoch} of {record.epochs}"


def _drawn_caption(drawn: int, reported: int, has_pruned: bool) -> str:
    caption = ""
    if drawn < reported:
        spread = " and an even spread of the pruned ones" if has_pruned else ""
        caption = (
            f"The figure shows {drawn} of {count(reported, 'trial')}: the best {BEST_LINES}, "
            f"the known recipes{spread}. "
        )
    return caption + ("A ring marks where a trial was pruned." if has_pruned else "")
