import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from trainer.errors import RaretuneError
from trainer.pages.curves import roc_points
from trainer.pages.evaluation import CalibratedRows, write_page
from trainer.scores.bootstrap import bootstrap
from trainer.scores.calibration import Calibration, calibrated
from trainer.scores.evaluation import evaluate
from trainer.scores.reliability import before_and_after

HOSTILE = "<script>alert(1)</script>"
NAMES = (HOSTILE, 'with "quotes" & $dollars', "never")
CUTS = torch.tensor([0.2, 0.3, 0.5])


def draw():
    """Probabilities and labels (300, 3); the last label has no positive."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(300, 3, generator=generator) < 0.2).float()
    y[:, 2] = 0
    return torch.sigmoid(torch.randn(300, 3, generator=generator) + y - 1), y


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


def test_each_label_with_positives_has_four_figures_and_a_place_for_each(page):
    source = page.scripts[-1]
    figures = json.loads(source[: source.index(".forEach")])
    assert [len(row) for row in figures] == [4, 4, 0]
    places = [i for i in page.ids if i.startswith("plot-")]
    assert places == [f"plot-{i}-{j}" for i in range(2) for j in range(4)]
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


def test_a_calibrated_page_shows_both_probabilities_and_thresholds_as_handed_out(tmp_path):
    p, y = draw()
    curves = [Calibration(1.3, 0.8, -1.0)] * 3
    found = calibrated(p, CUTS, curves)
    result = evaluate(found.probabilities, y, torch.tensor(found.thresholds), NAMES)
    intervals = bootstrap(p, y, CUTS, NAMES, resamples=20)
    rows = CalibratedRows(found.probabilities, curves)
    texts = {"checkpoint": "best", "table": "new.csv"}
    write_page(tmp_path / "page.html", result, intervals, p, y, **texts, calibrated=rows)
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    text = " ".join("".join(page.text).split())
    scores = before_and_after(p, found.probabilities, y, NAMES)[NAMES[1]]
    assert f"{scores['after']['slope']:.3f} raw {scores['before']['slope']:.3f}" in text
    assert f"{found.thresholds[1]:.3f}" in text
    known = found.probabilities[:, 1].double().numpy()
    raw_curve = roc_points(p[:, 1], y[:, 1])
    moved = rows.of_label(1).moved(raw_curve).thresholds[1:]
    assert all(np.abs(known - one).min() < 1e-6 for one in moved)
