import numpy as np
import pytest
from study_case import HOSTILE, LABELS, make_evidence

from search.evidence.evidence import ColumnImportance
from search.figures.labels import chosen_cut
from search.figures.study import evidence_figures


@pytest.fixture(scope="module")
def evidence():
    return make_evidence()


@pytest.fixture(scope="module")
def figures(evidence):
    return evidence_figures(evidence)


def test_each_label_has_its_figures_under_its_name(figures):
    kinds = ("precision_recall", "reliability", "decision_curve", "columns")
    expected = {f"{kind}:{label}" for kind in kinds for label in LABELS}
    undefined = {"precision_recall:never", "decision_curve:never"}
    assert set(figures) == {"contenders"} | expected - undefined


def test_the_chosen_cut_is_that_of_the_threshold(evidence):
    for label in evidence.labels:
        assert label.cuts[chosen_cut(label)] == label.threshold


def test_the_curve_is_precision_over_recall_at_every_cut(evidence, figures):
    label = evidence.labels[0]
    _, curve, chosen, here = figures[f"precision_recall:{label.label}"].figure.data
    found, alarms = np.array(label.true_positives), np.array(label.false_positives)
    np.testing.assert_allclose(curve.x, found / label.positives, atol=1e-5)
    np.testing.assert_allclose(curve.y, found / (found + alarms), atol=1e-5)
    place = chosen_cut(label)
    for mark in (chosen, here):
        assert mark.x[0] == found[place] / label.positives
        assert mark.y[0] == found[place] / (found[place] + alarms[place])


def test_the_best_and_its_contenders_are_drawn_with_their_intervals(evidence, figures):
    best, *others = figures["contenders"].figure.data
    assert best.x[0] == evidence.macro_f1
    assert best.x[0] - best.error_x.arrayminus[0] == pytest.approx(evidence.interval[0])
    for drawn, one in zip(others, evidence.contenders, strict=True):
        assert drawn.x[0] + drawn.error_x.array[0] == pytest.approx(one.interval[1])


def test_columns_come_in_order_with_names_that_are_no_markup(figures):
    figure = figures[f"columns:{HOSTILE}"].figure
    assert list(figure.data[0].x) == sorted(figure.data[0].x, reverse=True)
    assert all("<" not in text for text in figure.layout.yaxis.ticktext)
    assert figures[f"columns:{HOSTILE}"].caption.startswith(f"Shuffling age{HOSTILE}")


def test_control_characters_of_a_column_are_written_out(evidence):
    columns = [ColumnImportance(column="age\x1b[2J", drop=0.1, spread=0.01)]
    label = evidence.labels[0].model_copy(update={"columns": columns})
    figure = evidence_figures(evidence.model_copy(update={"labels": [label]}))
    assert r"age\x1b[2J" in figure[f"columns:{HOSTILE}"].figure.layout.yaxis.ticktext[0]


def test_without_test_rows_nothing_is_held_against_each_other(evidence):
    unseen = evidence.model_copy(update={"macro_f1": None, "interval": None, "contenders": []})
    assert "contenders" not in evidence_figures(unseen)
