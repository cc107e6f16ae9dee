"""When each trial ran, beside which others: a bar a trial, in as few lanes as hold them."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.figures.captioned import PURPLE, CaptionedFigure, add_legend, compact
from search.figures.words import count, percent
from search.store.records import TrialRecord
from trainer.pages.curves import BLUE, GREY, plain_figure

PAUSE_SECONDS = 60.0  # without any trial; longer ones are cut out, a study may rest for days
LANE_PIXELS = 18
STATE_LOOKS: dict[str, dict[str, object]] = {
    "complete": {"color": BLUE},
    "pruned": {"color": GREY},
    "failed": {"color": PURPLE},
    "lost": {"color": PURPLE, "pattern": {"shape": "/", "bgcolor": PURPLE, "fgcolor": "white"}},
}
STATE_LEGEND = {
    "complete": ("■", BLUE),
    "pruned": ("■", GREY),
    "failed": ("■", PURPLE),
    "lost": ("▨", PURPLE),
}
UNITS = (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, np.inf))


@dataclass(frozen=True)
class Span:
    """When a trial ran; seconds of any clock, start <= end."""

    record: TrialRecord
    start: float
    end: float


def timeline_figure(records: Sequence[TrialRecord]) -> CaptionedFigure | None:
    """Draw a bar a trial from its start to its end; None if no trial has both."""
    spans = [
        Span(record, start.timestamp(), max(start, record.ended).timestamp())
        for record in records
        if (start := record.started) is not None and record.ended is not None
    ]
    if not spans:
        return None
    spans, cuts = cut_pauses(spans)
    rows = lanes([(span.start, span.end) for span in spans])
    total = max(span.end for span in spans)
    unit, seconds = _unit(total)
    figure = plain_figure(f"Time ({unit})", "", [0, total / seconds * 1.01 or 1])
    height = 110 + LANE_PIXELS * (max(rows) + 1)
    figure.update_layout(height=height, barmode="overlay", bargap=0.15, margin_l=12)
    figure.update_yaxes(showticklabels=False, showgrid=False, range=[max(rows) + 0.6, -0.6])
    placed = list(zip(spans, rows, strict=True))
    for state in STATE_LOOKS:
        _add_bars(figure, [p for p in placed if p[0].record.state == state], state, seconds)
    for cut in cuts:
        figure.add_vline(x=cut / seconds, line={"color": GREY, "width": 1, "dash": "dot"})
    add_legend(figure, STATE_LEGEND)
    return CaptionedFigure("Timeline", figure, _caption(spans, max(rows) + 1, total, len(cuts)))


def cut_pauses(spans: Sequence[Span]) -> tuple[list[Span], list[float]]:
    """Return the spans in order of their start on a clock that stands still in pauses, and when.

    The clock is in seconds since the first start. A lost trial's process died at an unknown time
    before its end was noticed, so it keeps the clock going only at its start.
    """
    ordered = sorted(spans, key=lambda span: (span.start, span.record.number))
    busy: list[list[float]] = []
    for span in ordered:
        end = span.start if span.record.state == "lost" else span.end
        if busy and span.start <= busy[-1][1] + PAUSE_SECONDS:
            busy[-1][1] = max(busy[-1][1], end)
        else:
            busy.append([span.start, end])
    starts, ends = np.array(busy).reshape(-1, 2).T

    def clock(at: float) -> float:
        return float(np.clip(at - starts, 0.0, ends - starts).sum())

    cut = [Span(span.record, clock(span.start), clock(span.end)) for span in ordered]
    return cut, [clock(start) for start in starts[1:]]


def lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return a lane, 0 and up, for each (start, end), which come in order of their start.

    Spans of one lane don't overlap, and there are no more lanes than spans at one time.
    """
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    found = []
    for start, end in spans:
        while taken and taken[0][0] <= start:
            heapq.heappush(free, heapq.heappop(taken)[1])
        lane = heapq.heappop(free) if free else len(taken)
        heapq.heappush(taken, (end, lane))
        found.append(lane)
    return found


def _add_bars(
    figure: go.Figure, placed: Sequence[tuple[Span, int]], state: str, seconds: float
) -> None:
    if not placed:
        return
    figure.add_bar(
        base=compact(span.start / seconds for span, _ in placed),
        x=compact((span.end - span.start) / seconds for span, _ in placed),
        y=np.array([lane for _, lane in placed]),
        customdata=[
            f"trial {span.record.number} ({state})<br>{_duration(span.end - span.start)}, "
            f"{count(span.record.epochs, 'epoch')}"
            for span, _ in placed
        ],
        name=state,
        orientation="h",
        marker={**STATE_LOOKS[state], "line": {"color": "rgba(255,255,255,0.7)", "width": 0.6}},
        hovertemplate="%{customdata}<extra></extra>",
    )


def _caption(spans: Sequence[Span], most: int, total: float, pauses: int) -> str:
    side_by_side = f", up to {most} side by side" if most > 1 else ""
    without = f"; {count(pauses, 'pause')} between them left out (dotted line)" if pauses else ""
    caption = f"{count(len(spans), 'trial')} in {_duration(total)}{side_by_side}{without}."
    spent = sum(span.end - span.start for span in spans)
    pruned = [span.end - span.start for span in spans if span.record.state == "pruned"]
    if pruned and spent:
        caption += (
            f" Of the trials, {percent(len(pruned) / len(spans))} were pruned; "
            f"they took {percent(sum(pruned) / spent)} of the time."
        )
    return caption


def _duration(seconds: float) -> str:
    unit, length = _unit(seconds)
    return f"{seconds / length:.3g} {unit}"


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit to show so long a time in, and its seconds."""
    return next((name, length) for name, length, below in UNITS if seconds < below)
