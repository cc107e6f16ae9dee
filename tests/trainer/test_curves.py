import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from trainer.curves import (
    MOST_POINTS,
    precision_recall_figure,
    precision_recall_points,
    reliability_figure,
    roc_figure,
    roc_points,
    wilson_interval,
    write_page,
)
from trainer.errors import RaretuneError
from trainer.evaluation import bootstrap, evaluate, reliability

HOSTILE = "<script>alert(1)</script>"
NAMES = (HOSTILE, 'with "quotes" & $dollars', "never")
CUTS = torch.tensor([0.2, 0.3, 0.5])


def draw(rows=300, levels=None):
    """Probabilities and labels (rows, 3); the last label has no positive."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(rows, 3, generator=generator) < 0.2).float()
    y[:, 2] = 0
    p = torch.sigmoid(torch.randn(rows, 3, generator=generator) + y - 1)
    return ((p * levels).round() / levels if levels else p), y


class Page(HTMLParser):
    """Tags, what they load or link to, the text outside scripts, and the scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.targets, self.text, self.scripts, self.ids = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_data(self, data):
        (self.scripts if self.tags and self.cdata_elem == "script" else self.text).append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page's text, its path and what it shows."""
    path = tmp_path_factory.mktemp("page") / "new" / "evaluation.html"
    p, y = draw()
    result = evaluate(p, y, CUTS, NAMES)
    intervals = bootstrap(p, y, CUTS, NAMES, resamples=50)
    texts = {"checkpoint": "<i>best</i>", "table": "a&b.csv", "note": "<b>beware</b>"}
    write_page(path, result, intervals, p, y, **texts)
    return path.read_text(encoding="utf-8"), path, result, intervals


@pytest.fixture(scope="module")
def page(written):
    return Page(written[0])


@pytest.mark.parametrize("levels", [None, 10])
def test_roc_points_equal_scikit_learn(levels):
    p, y = (x[:, 0] for x in draw(levels=levels))
    curve = roc_points(p, y)
    for actual, expected in zip(
        (curve.x, curve.y, curve.thresholds), reference.roc_curve(y, p), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("levels", [None, 10])
def test_precision_recall_points_lie_on_scikit_learns_and_enclose_the_average_precision(levels):
    p, y = (x[:, 0] for x in draw(levels=levels))
    curve = precision_recall_points(p, y)
    precision, recall, thresholds = reference.precision_recall_curve(y, p)
    known = set(zip(recall, precision, thresholds, strict=False))
    assert set(zip(curve.x[1:], curve.y[1:], curve.thresholds[1:], strict=True)) <= known
    assert set(curve.x) == set(recall)
    for x, best in zip(curve.x[1:], curve.y[1:], strict=True):
        assert best == precision[recall == x].max()
    area = np.sum(np.diff(curve.x) * curve.y[1:])
    assert area == pytest.approx(reference.average_precision_score(y, p))


def test_thinned_curves_keep_their_ends_and_their_area():
    p, y = (x[:, 0] for x in draw(rows=20_000))
    whole = roc_points(p, y)
    thin = whole.thinned()
    assert len(thin.x) <= MOST_POINTS < len(whole.x)
    assert [thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]] == [0, 0, 1, 1]
    assert reference.auc(thin.x, thin.y) == pytest.approx(reference.roc_auc_score(y, p), abs=2e-3)
    thin = precision_recall_points(p, y).thinned()
    area = np.sum(np.diff(thin.x) * thin.y[1:])
    assert area == pytest.approx(reference.average_precision_score(y, p), abs=2e-3)


def test_a_short_curve_is_not_thinned():
    p, y = (x[:, 0] for x in draw(rows=40))
    curve = roc_points(p, y)
    np.testing.assert_array_equal(curve.thinned().x, curve.x)


def test_wilson_intervals_equal_known_values():
    """Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E."""
    rows = np.array([263, 148, 20, 29])
    shares = np.array([81, 15, 0, 1]) / rows
    low, high = wilson_interval(shares, rows)
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0, 0.0061], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=5e-5)


def test_figures_mark_the_decisions_in_use_and_the_score_of_guessing():
    p, y = draw()
    scores = evaluate(p, y, CUTS, NAMES).labels[HOSTILE]
    guess, curve, dot = precision_recall_figure(
        precision_recall_points(p[:, 0], y[:, 0]), scores
    ).data
    assert list(guess.y) == [scores.prevalence] * 2
    assert curve.line.shape == "vh"
    assert (dot.x[0], dot.y[0]) == (scores.recall, scores.precision)
    guess, curve, dot = roc_figure(roc_points(p[:, 0], y[:, 0]), scores).data
    assert list(guess.x) == list(guess.y) == [0, 1]
    at_cut = np.flatnonzero(curve.customdata >= CUTS[0].numpy()).max()
    assert curve.y[at_cut] <= dot.y[0] <= curve.y[at_cut + 1]
    assert curve.x[at_cut] <= dot.x[0] <= curve.x[at_cut + 1]


def test_a_reliability_figure_shows_the_bins_within_its_range():
    p, y = draw()
    bins = reliability(p[:, 0], y[:, 0])
    figure = reliability_figure(bins)
    points = figure.data[1]
    np.testing.assert_array_equal(points.x, bins.predicted)
    np.testing.assert_array_equal(points.y, bins.observed)
    top = figure.layout.yaxis.range[1]
    assert (points.y + points.error_y.array).max() < top
    assert points.x.max() < top == figure.layout.xaxis.range[1]


def test_names_and_notes_are_escaped(written, page):
    assert HOSTILE not in written[0]
    assert page.tags.count("script") == 2
    assert not {"i", "b"} & set(page.tags)
    text = "".join(page.text)
    for shown in (*NAMES, "<i>best</i>", "a&b.csv", "<b>beware</b>"):
        assert shown in text


def test_a_label_name_can_not_end_the_script(page):
    assert "</" not in page.scripts[-1]


def test_the_page_loads_nothing(written, page):
    """Links stay within the page, and styles name no address."""
    assert not {"link", "img", "iframe", "base", "object"} & set(page.tags)
    assert page.targets
    assert all(target.startswith("#label-") for target in page.targets)
    assert {target[1:] for target in page.targets} <= set(page.ids)
    style = re.search(r"<style>(.*?)</style>", written[0], re.DOTALL)[1]
    assert not re.search(r"url\(|@import|https?:", style)
    assert "https:" not in page.scripts[-1]


def test_plotly_is_embedded_once(written):
    assert written[0].count("plotly.js v") == 1


def test_every_score_and_interval_is_in_the_tables(written, page):
    _, _, result, intervals = written
    text = " ".join("".join(page.text).split())
    for name, scores in result.labels.items():
        for count in (scores.true_positives, scores.true_negatives, scores.support):
            assert f"{count}" in text
        for score, (low, high) in intervals.labels[name].items():
            if not np.isnan(low):
                assert f"{getattr(scores, score):.3f} {low:.3f}\N{EN DASH}{high:.3f}" in text
    low, high = intervals.macro["f1"]
    assert f"{result.macro_f1:.3f} {low:.3f}\N{EN DASH}{high:.3f}" in text
    assert "nan" not in text


def test_each_label_with_positives_has_three_figures_and_a_place_for_each(page):
    source = page.scripts[-1]
    figures = json.loads(source[: source.index(".forEach")])
    assert [len(row) for row in figures] == [3, 3, 0]
    places = [i for i in page.ids if i.startswith("plot-")]
    assert places == [f"plot-{i}-{j}" for i in range(2) for j in range(3)]
    assert "No plots" in "".join(page.text)


def test_the_same_evaluation_gives_the_same_bytes(written, tmp_path):
    p, y = draw()
    texts = {"checkpoint": "<i>best</i>", "table": "a&b.csv", "note": "<b>beware</b>"}
    write_page(tmp_path / "again.html", *written[2:], p, y, **texts)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == written[0]


def test_only_the_page_is_left_in_its_folder(written):
    assert [path.name for path in written[1].parent.iterdir()] == ["evaluation.html"]


def test_a_page_that_can_not_be_written_is_one_line_and_leaves_the_folder_as_it_was(
    written, tmp_path
):
    (tmp_path / "taken").mkdir()
    p, y = draw()
    with pytest.raises(RaretuneError, match="name another --output") as raised:
        write_page(tmp_path / "taken", *written[2:], p, y, checkpoint="c", table="t")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
