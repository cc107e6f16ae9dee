"""An evaluation as one HTML page: every score with its interval, and three plots a label.

The page stands alone: plotly.js is embedded once, nothing is fetched.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs
from torch import Tensor

from trainer.curves import (
    precision_recall_figure,
    precision_recall_points,
    reliability_figure,
    roc_figure,
    roc_points,
)
from trainer.errors import RaretuneError
from trainer.evaluation import (
    CONFIDENCE,
    MACRO_SCORES,
    Evaluation,
    Interval,
    Intervals,
    LabelScores,
    reliability,
)

SCORE_NAMES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
}


@dataclass(frozen=True)
class _Plot:
    """A figure, its title, and the sentence (HTML) that says what to see."""

    title: str
    figure: go.Figure
    caption: str


def write_page(
    path: Path,
    evaluation: Evaluation,
    intervals: Intervals,
    probabilities: Tensor,
    labels: Tensor,
    *,
    checkpoint: str,
    table: str,
    note: str = "",
) -> None:
    """Write the page to `path`, whole or not at all; raises RaretuneError if it can't be written.

    `checkpoint` and `table` are names to show, `note` a sentence of warning, all three as plain
    text. Shapes (N rows, L labels): probabilities (N, L) float32, labels (N, L) 0 or 1.
    """
    plots = {
        name: list(_plots(scores, probabilities[:, number], labels[:, number]))
        for number, (name, scores) in enumerate(evaluation.labels.items())
    }
    page = _PAGE.substitute(
        checkpoint=escape(checkpoint),
        table=escape(table),
        rows=f"{len(labels):,}",
        note=f'<p class="note">{escape(note)}</p>' if note else "",
        macro="".join(_tile(name, evaluation, intervals) for name in MACRO_SCORES),
        confidence=_percent(CONFIDENCE, digits=0),
        resamples=f"{intervals.resamples:,}",
        units=f"{intervals.units:,} {intervals.unit}",
        scores=_score_table(evaluation, intervals),
        decisions=_decision_table(evaluation),
        sections="".join(_section(i, *item) for i, item in enumerate(plots.items())),
        plotly=get_plotlyjs(),
        figures=to_json_plotly([[plot.figure for plot in row] for row in plots.values()]),
    )
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RaretuneError(f"can't write {path}: {reason}; name another --output") from error
    finally:
        scratch.unlink(missing_ok=True)


def _tile(score: str, evaluation: Evaluation, intervals: Intervals) -> str:
    value = _with_interval(getattr(evaluation, f"macro_{score}"), intervals.macro[score])
    return f"<div><dt>Macro {SCORE_NAMES[score]}</dt><dd>{value}</dd></div>"


def _score_table(evaluation: Evaluation, intervals: Intervals) -> str:
    rows = []
    for name, scores in evaluation.labels.items():
        bounds = intervals.labels[name]
        rows.append((name, *(_with_interval(getattr(scores, s), bounds[s]) for s in SCORE_NAMES)))
    return _table(SCORE_NAMES.values(), rows)


def _decision_table(evaluation: Evaluation) -> str:
    names = (
        *("threshold", "positives", "predicted", "true positives", "false positives"),
        *("false negatives", "true negatives", "Brier score", "calibration error"),
    )
    rows = [
        (
            name,
            _number(s.threshold),
            f"{s.support:,}<small>{_percent(s.prevalence)}</small>",
            f"{s.true_positives + s.false_positives:,}<small>{_percent(s.predicted_share)}</small>",
            *(f"{count:,}" for count in (s.true_positives, s.false_positives)),
            *(f"{count:,}" for count in (s.false_negatives, s.true_negatives)),
            _number(s.brier),
            _number(s.calibration_error),
        )
        for name, s in evaluation.labels.items()
    ]
    return _table(names, rows)


def _table(names: Iterable[str], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f'<tr><th scope="row"><a href="#label-{number}">{_breakable(name)}</a></th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
        for number, (name, *cells) in enumerate(rows)
    )
    return (
        f'<div class="wide"><table><thead><tr><th>Label</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>")


def _section(number: int, name: str, plots: list[_Plot]) -> str:
    figures = "".join(
        f'<figure><h3>{plot.title}</h3><div id="plot-{number}-{place}"></div>'
        f"<figcaption>{plot.caption}</figcaption></figure>"
        for place, plot in enumerate(plots)
    )
    body = figures or "<p>No plots: its rows are all positive or all negative.</p>"
    return (
        f'<section id="label-{number}"><h2>{escape(name)}</h2>'
        f'<div class="plots">{body}</div></section>'
    )


def _plots(scores: LabelScores, p: Tensor, y: Tensor) -> Iterator[_Plot]:
    if scores.support in (0, len(y)):
        return
    false_rate = scores.false_positives / (scores.false_positives + scores.true_negatives)
    yield _Plot(
        "ROC curve",
        roc_figure(roc_points(p, y).thinned(), scores),
        f"Of a positive and a negative row, the positive one gets the higher probability "
        f"{100 * scores.roc_auc:.0f} times in 100 (50 by guessing, dashed); the threshold in use "
        f"(dot) finds {_percent(scores.recall)} of the positives and raises a false alarm on "
        f"{_percent(false_rate)} of the negatives.",
    )
    yield _Plot(
        "Precision and recall",
        precision_recall_figure(precision_recall_points(p, y).thinned(), scores),
        f"{_precision_in_words(scores)}, where guessing would give {_percent(scores.prevalence)} "
        "(dashed).",
    )
    bins = reliability(p, y)
    yield _Plot(
        "Reliability",
        reliability_figure(bins),
        f"The mean probability is {_percent(float(p.double().mean()))} where "
        f"{_percent(scores.prevalence)} are positive; on the dashed line a probability can be "
        f"taken at its word, below it promises too much ({len(bins.rows)} bins of about "
        f"{int(np.median(bins.rows)):,} rows; bars are {_percent(CONFIDENCE, digits=0)} "
        "Wilson intervals).",
    )


def _precision_in_words(scores: LabelScores) -> str:
    threshold = _number(scores.threshold)
    if scores.true_positives + scores.false_positives == 0:
        return f"The threshold {threshold} predicts no row positive"
    share = _percent(scores.precision)
    return f"Of the rows that the threshold {threshold} predicts positive (dot), {share} are"


def _with_interval(value: float, interval: Interval) -> str:
    low, high = interval
    return f"{_number(value)} <small>{_number(low)}&ndash;{_number(high)}</small>"


def _number(value: float) -> str:
    return "&ndash;" if np.isnan(value) else f"{value:.3f}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}&nbsp;%"


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Evaluation of $checkpoint</title>
<style>
:root { --ink: #1c2026; --soft: #5b6470; --rule: #dde1e6; --page: #fff; --raised: #f5f6f8;
  --link: #0b62a3; --warn: #d9730d; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ec; --soft: #a3abb6; --rule: #343a43; --page: #15181c; --raised: #1e2228;
    --link: #6db9f2; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, p { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0; }
p { max-width: 44rem; margin: .5rem 0; }
small, figcaption, .soft { color: var(--soft); font-size: .8rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.note { border-left: 4px solid var(--warn); background: var(--raised); padding: .6rem .9rem; }
dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
dl div { background: var(--raised); border-radius: .5rem; padding: .6rem 1rem; flex: 1 1 9rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
dd small { display: inline-block; white-space: nowrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: right; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
thead th::first-letter { text-transform: uppercase; }
thead th { color: var(--soft); font-weight: 600; font-size: .8rem; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page);
  min-width: 6rem; max-width: 14rem; overflow-wrap: break-word; }
td { white-space: nowrap; }
td small { display: block; }
.plots { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
figure { margin: 0; min-width: 0; }
.xtick text, .ytick text, .g-xtitle text, .g-ytitle text { fill: var(--soft) !important; }
@media screen and (max-width: 40rem) {
  body { padding: 1.25rem .9rem 3rem; }
  table { font-size: .8rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: .8rem; }
  table, thead th, td small { font-size: .62rem; }
  th, td { padding: .25rem .3rem; }
  .plots { zoom: .6; }
  h3, figcaption { font-size: 1.15rem; }
  section { break-inside: avoid; }
  a { color: inherit; }
}
</style>
</head>
<body>
<h1>Evaluation of $checkpoint</h1>
<p>How well this checkpoint decides on the $rows rows of $table, label by label, and how sure that
is.</p>
$note
<dl>$macro</dl>
<p class="soft">Macro scores are means over the labels. Small numbers are $confidence confidence
intervals from $resamples bootstrap resamples of $units.</p>
<h2>Scores</h2>
$scores
<h2>Decisions and probabilities</h2>
$decisions
$sections
<script>$plotly</script>
<script>
$figures.forEach((row, i) => row.forEach((plot, j) => Plotly.newPlot(
  `plot-$${i}-$${j}`, plot.data, plot.layout, {displayModeBar: false, responsive: true})));
</script>
</body>
</html>
""")
