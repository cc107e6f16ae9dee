import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from study_case import HOSTILE, LABELS, make_evidence, make_study

from search.evidence.evidence import store
from search.report.page import figures, report_page, write_report
from search.store.records import Confirmation, read_study
from trainer.errors import RaretuneError

BEST = Path("runs/clinic/best")
SECTIONS = ("found", "labels", "remedies", "search", "trouble", "again")


class Page(HTMLParser):
    """Tags, ids, what is linked to or loaded, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.targets, self.headings, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [v for k, v in attrs if k == "id"]
        self.targets += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        if self.cdata_elem is None:
            self.text += data


@pytest.fixture(scope="module")
def study():
    return make_study()


@pytest.fixture(scope="module")
def text(study):
    return report_page(read_study(study), make_evidence(), BEST)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_names_of_users_are_text_and_nothing_else(text, page):
    assert HOSTILE not in text
    assert "b" not in page.tags
    for name in LABELS:
        assert name in page.text


def test_the_page_loads_nothing_and_every_link_has_its_place(page):
    assert not {"link", "img", "iframe", "base", "object"} & set(page.tags)
    assert all(target.startswith("#") for target in page.targets)
    assert {target[1:] for target in page.targets} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert set(SECTIONS) <= set(page.ids)


def test_headings_go_down_one_step_at_a_time(page):
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)


def test_plotly_is_embedded_once(text):
    assert text.count("plotly.js v") == 1


def test_what_was_found_is_told_first(page):
    first = page.text.index("not shown to beat plain BCE")
    assert first < page.text.index("Label by label") < page.text.index("Search history")
    assert "better than plain BCE by 0.012 (\u22120.004 to 0.028): not sure" in page.text
    assert "chosen as the best of 30 by validated" in page.text


def test_collapses_failures_settings_and_hashes_are_there(page):
    for part in (
        "all negative",
        f"the loss was not finite in epoch 1 {HOSTILE}",
        "9, 19, 29",
        "raretune retrain clinic --trial",
        "class_weight_multiplier",
        "2.13.0",
        "ab" * 32,
        '"new_diabetes"',
    ):
        assert part in page.text


def test_no_json_and_no_missing_number_is_shown(page):
    assert not re.search(r"\bnan\b|\bNone\b|[{]\"", page.text)


def test_the_same_study_gives_the_same_page(study, text):
    assert report_page(read_study(study), make_evidence(), BEST) == text


def test_a_study_without_a_complete_trial_still_tells_what_failed():
    study = make_study(0)
    empty = Page(report_page(read_study(study), None, BEST))
    assert "nothing was found" in empty.text
    study.add_trial(make_study(10).trials[9])
    assert "the loss was not finite" in Page(report_page(read_study(study), None, BEST)).text


def test_without_evidence_the_best_trial_is_named_and_nothing_claimed(study):
    text = Page(report_page(read_study(study), None, BEST)).text
    assert f"Trial {study.best_trial.number}, " in text
    assert "is not kept with the study" in text
    assert "Label by label" not in text


def test_what_was_confirmed_over_fresh_seeds_is_shown(study):
    seeds = Confirmation(4, None, [0.18, 0.2], 0.19, 0.0141)
    confirmed = replace(read_study(study), confirmed=[seeds])
    text = Page(report_page(confirmed, make_evidence(), BEST)).text
    assert "Confirmed over fresh seeds" in text
    assert re.search(r"4\s+0.1900\s+0.0141\s+0.1800\s+0.2000\s+\u2013", text)
    assert "Confirmed" not in Page(report_page(read_study(study), make_evidence(), BEST)).text


def test_a_definition_of_another_version_costs_only_its_own_lines(study):
    other = replace(read_study(study), definition={"objective": "macro_f1", "colour": "red"})
    text = Page(report_page(other, make_evidence(), BEST)).text
    assert "can't read" in text
    assert "colour" in text
    assert "raretune retrain clinic --trial" in text


def test_folds_are_told_where_there_are_several(study):
    evidence = make_evidence()
    folded = evidence.table.model_copy(update={"folds": 5, "repeats": 2})
    text = report_page(read_study(study), evidence.model_copy(update={"table": folded}), BEST)
    assert re.search(r"folds\s*5, dealt 2 times", Page(text).text)
    assert "train rows of the first fold" in Page(text).text
    assert "first fold" not in Page(report_page(read_study(study), evidence, BEST)).text


def test_a_page_that_can_not_be_written_is_one_line(tmp_path, study):
    (tmp_path / "taken").mkdir()
    with pytest.raises(RaretuneError, match="name another --output"):
        write_report(tmp_path / "taken", study, None, BEST)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_figures_of_a_stored_study_come_by_name(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    study = make_study(12, storage=url)
    without = figures("clinic", url)
    assert {"history", "remedies"} <= set(without)
    store(study, make_evidence(trial=study.best_trial.number))
    found = figures("clinic", url)
    assert {f"precision_recall:{HOSTILE}", "columns:never", "contenders"} <= set(found)
    assert all(isinstance(figure, go.Figure) for figure in found.values())
    with pytest.raises(RaretuneError, match="no study 'another'"):
        figures("another", url)


def test_a_page_of_many_trials_stays_small():
    study = read_study(make_study(500, epochs=50))
    assert len(report_page(study, make_evidence(), BEST).encode()) < 6e6
