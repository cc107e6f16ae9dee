from collections import Counter
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from studies import mesa
from trainer.errors import ConfigError


@pytest.fixture(scope="module")
def table():
    return mesa.build()


def test_columns_are_those_of_the_guides_table(table):
    assert list(table.columns) == [*mesa.LABELS, *mesa.NUMBERS, mesa.ID, mesa.SEQUENCE]
    assert len(table) == 2000
    assert table[mesa.ID].is_unique


def test_labels_are_binary_and_rare(table):
    assert set(np.unique(table[list(mesa.LABELS)])) == {0, 1}
    assert table[list(mesa.LABELS)].mean().between(0.04, 0.09).all()


def test_a_few_percent_of_every_number_are_missing(table):
    assert table[mesa.NUMBERS].isna().mean().between(0.01, 0.08).all()
    assert table[[*mesa.LABELS, mesa.ID, mesa.SEQUENCE]].notna().all(axis=None)


def test_nights_are_600_to_1400_digits_from_0_to_5(table):
    assert table[mesa.SEQUENCE].str.fullmatch("[0-5]+").all()
    assert table[mesa.SEQUENCE].str.len().between(600, 1400).all()


def count_by_hand(night):
    """The columns that follow from the digits, one epoch after the other; 120 epochs an hour."""
    n_asleep = sum(digit != "0" for digit in night)
    period = night.strip("0")
    return {
        "timest1p5": 100 * night.count("1") / n_asleep,
        "timest2p5": 100 * night.count("2") / n_asleep,
        "times34p5": 100 * (night.count("3") + night.count("4")) / n_asleep,
        "timeremp5": 100 * night.count("5") / n_asleep,
        "slp_eff5": 100 * n_asleep / len(night),
        "waso5": period.count("0") / 2,
        "slpprdp5": n_asleep / 2,
        "remlaiip5": period.index("5") / 2 if "5" in period else np.nan,
    }


def test_numbers_agree_with_the_digits_of_their_row(table):
    counted = pd.DataFrame([count_by_hand(night) for night in table[mesa.SEQUENCE]])
    present = table[counted.columns].notna()
    assert (counted.isna() <= ~present).all(axis=None)
    difference = (table[counted.columns] - counted).where(present, 0).abs()
    assert difference.max(axis=None) <= 0.05 + 1e-9  # rounded to one decimal


def test_a_night_without_sleep_has_no_percentages():
    summary = mesa.summarise(np.array([[0, 0, 0, mesa.AFTER_END]], dtype=np.int8))
    assert summary["slp_eff5"] == summary["waso5"] == summary["slpprdp5"] == 0
    assert np.isnan([summary["timest2p5"], summary["timeremp5"], summary["remlaiip5"]]).all()


def test_fragmentation_changes_the_transitions_but_not_the_shares():
    """So that part of the signal is in the order of the digits only."""
    shares, transitions = [], []
    for level in (-1.5, 1.5):
        traits = {name: np.zeros(400) for name in mesa.TRAITS}
        traits["fragmentation"] += level
        stages = mesa.draw_stages(traits, np.random.default_rng(1))
        seen = stages > mesa.AFTER_END
        shares.append(np.bincount(stages[seen], minlength=6) / seen.sum())
        changes = (stages[:, 1:] != stages[:, :-1]) & seen[:, 1:]
        transitions.append(changes.sum() / seen.sum())
    np.testing.assert_allclose(shares[0], shares[1], atol=0.02)
    assert transitions[1] > 2 * transitions[0]


def test_the_seed_decides_the_table(table):
    again, other = mesa.build(rows=50, seed=3), mesa.build(rows=50, seed=4)
    pd.testing.assert_frame_equal(mesa.build(rows=50, seed=3), again)
    assert not again.equals(other)


def order_features(night):
    """How often each stage gives way to each other one, per epoch."""
    changes = Counter(pairwise(night))
    return [changes[a, b] / len(night) for a, b in product("012345", repeat=2) if a != b]


def tuned_macro_f1(features, labels):
    """Mean over labels of the cross-validated F1; thresholds are tuned on the other half."""
    half = np.arange(len(labels)) % 2 == 0
    scores = []
    for label in labels:
        truth = labels[label].to_numpy()
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        chance = cross_val_predict(model, features, truth, cv=5, method="predict_proba")[:, 1]
        decided = np.zeros(len(truth))
        for fitted in (half, ~half):
            cuts = np.quantile(chance[fitted], np.linspace(0.6, 0.99, 60))
            f1 = [f1_score(truth[fitted], chance[fitted] >= cut) for cut in cuts]
            decided[~fitted] = chance[~fitted] >= cuts[np.argmax(f1)]
        scores.append(f1_score(truth, decided))
    return np.mean(scores)


def test_labels_are_hard_to_predict_and_need_the_digits(table):
    labels = table[list(mesa.LABELS)]
    numbers = table[mesa.NUMBERS].fillna(table[mesa.NUMBERS].median()).to_numpy()
    order = np.array([order_features(night) for night in table[mesa.SEQUENCE]])
    alone, together = (tuned_macro_f1(x, labels) for x in (numbers, np.hstack([numbers, order])))
    assert 0.2 < together < 0.5
    assert together > alone + 0.04


def test_a_table_without_rows_is_refused():
    with pytest.raises(ConfigError, match="rows of the mesa example must be 1 or more, got 0"):
        mesa.build(rows=0)


def test_a_table_beyond_all_memory_is_refused():
    with pytest.raises(ConfigError, match="1,000,000 or less"):
        mesa.build(rows=10**12)
