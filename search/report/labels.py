"""A report's labels: a table of all, then a section each with a cut to move."""

from collections.abc import Mapping
from html import escape

from plotly.io.json import to_json_plotly

from search.evidence.evidence import LabelEvidence, LabelTest
from search.figures.captioned import CaptionedFigure
from search.figures.labels import chosen_cut
from search.report.blocks import figure, section, tile
from trainer.pages.html import DASH, breakable, number, percent, table, with_interval

HEADINGS = (
    *("label", "test F1", "precision", "recall", "average precision", "ROC AUC"),
    *("test positives", "threshold", "validation F1", "validation positives"),
)
CUT_FIELDS = {
    "threshold": "Threshold",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "predicted": "Predicted share",
    "actual": "Positive share",
}


def labels_section(labels: list[LabelEvidence], figures: Mapping[str, CaptionedFigure]) -> str:
    """Return the section of all labels."""
    return section(
        "labels",
        "Label by label",
        "<p>Thresholds were chosen on the validation rows and held on the test rows; small "
        "numbers are 95&nbsp;% intervals.</p>",
        table(HEADINGS, [_row(place, label) for place, label in enumerate(labels)]),
        *(_label(place, label, figures) for place, label in enumerate(labels)),
    )


def _row(place: int, label: LabelEvidence) -> tuple[str, ...]:
    cut = chosen_cut(label)
    found, alarms = label.true_positives[cut], label.false_positives[cut]
    f1 = 2 * found / (found + alarms + label.positives) if label.positives else None
    link = f'<a href="#label-{place}">{breakable(label.label)}</a>'
    validation = (number(label.threshold), number(f1), _share(label.positives, label.rows))
    test = label.test
    if test is None:
        return (link, *[DASH] * 6, *validation)
    scores = [
        with_interval(getattr(test, score), test.intervals.get(score, (None, None)))
        for score in ("f1", "precision", "recall", "average_precision", "roc_auc")
    ]
    return (link, *scores, _share(test.support, _rows(test)), *validation)


def _rows(test: LabelTest) -> int:
    return test.support + test.false_positives + test.true_negatives


def _share(positives: int, rows: int) -> str:
    return f"{positives:,} <small>{percent(positives / rows)}</small>" if rows else DASH


def _label(place: int, label: LabelEvidence, figures: Mapping[str, CaptionedFigure]) -> str:
    curve = figures.get(f"precision_recall:{label.label}")
    reliability = figures.get(f"reliability:{label.label}")
    columns = figures.get(f"columns:{label.label}")
    return (
        f'<section class="label" id="label-{place}" aria-labelledby="label-{place}-title">'
        f'<h3 id="label-{place}-title">{escape(label.label)} '
        '<a class="up" href="#labels">all labels</a></h3>'
        f"{_on_test(label.test)}"
        '<div class="plots">'
        f"{figure(f'curve-{place}', curve, 4)}"
        f"{_cut(place, label) if curve else _no_cut(label)}"
        f"{figure(f'reliability-{place}', reliability, 4)}"
        f"{figure(f'columns-{place}', columns, 4)}"
        "</div></section>"
    )


def _on_test(test: LabelTest | None) -> str:
    if test is None:
        return ""
    alarms = "false alarm" if test.false_positives == 1 else "false alarms"
    scores = {
        "Test F1": "f1",
        "Precision": "precision",
        "Recall": "recall",
        "Average precision": "average_precision",
        "ROC AUC": "roc_auc",
    }
    tiles = [
        tile(name, with_interval(getattr(test, key), test.intervals.get(key, (None, None))))
        for name, key in scores.items()
    ]
    return (
        f"<p>On the locked test rows its threshold found {test.true_positives:,} of "
        f"{test.support:,} positives, with {test.false_positives:,} {alarms} among "
        f"{test.false_positives + test.true_negatives:,} negatives.</p>"
        f"<dl>{''.join(tiles)}</dl>"
    )


def _no_cut(label: LabelEvidence) -> str:
    kind = "positive" if label.positives else "negative"
    return f"<p>No curve: all {label.rows:,} validation rows are {kind}.</p>"


def _cut(place: int, label: LabelEvidence) -> str:
    """Return the slider over a label's cuts; the script fills in the numbers."""
    chosen = chosen_cut(label)
    data = {"cuts": label.cuts, "found": label.true_positives, "alarms": label.false_positives}
    data |= {"rows": label.rows, "positives": label.positives, "chosen": chosen}
    name = escape(label.label)
    tiles = "".join(
        tile(title, f'<output data-field="{key}" for="cut-{place}"></output>')
        for key, title in CUT_FIELDS.items()
    )
    last = len(label.cuts) - 1
    return (
        f'<div class="cut" data-plot="plot-curve-{place}">'
        f'<label for="cut-{place}">Move the cut of {name}</label>'
        f'<div class="row"><input type="range" id="cut-{place}" min="0" max="{last}" step="1" '
        f'value="{last - chosen}"><button type="button" disabled '
        f'aria-label="Back to the chosen cut of {name}">Back to the chosen cut</button></div>'
        f"<dl>{tiles}</dl>{_confusion()}"
        '<p class="soft">Numbers on the validation rows. A lower threshold finds more positives '
        "and raises more false alarms.</p>"
        f'<script type="application/json">{to_json_plotly(data)}</script></div>'
    )


def _confusion() -> str:
    rows = {"Is positive": ("tp", "fn"), "Is negative": ("fp", "tn")}
    return table(
        ("", "predicted positive", "predicted negative"),
        [
            (name, *(f'<span data-field="{field}"></span>' for field in fields))
            for name, fields in rows.items()
        ],
    )
