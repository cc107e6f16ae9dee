import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from trainer.errors import ConfigError
from trainer.scores.doubts import doubts
from trainer.scores.metrics import rank
from trainer.scores.promise import broken_promises, effective_share, hits_needed, recall_bound
from trainer.scores.thresholds import best_thresholds, parse_threshold_metric

PROMISE = parse_threshold_metric("recall>=0.8@0.95")


@given(hits=st.integers(0, 60), missed=st.integers(0, 60), confidence=st.sampled_from([0.8, 0.95]))
@settings(max_examples=60, deadline=None)
def test_the_bound_is_that_of_clopper_and_pearson(hits, missed, confidence):
    if hits + missed == 0:
        return
    expected = binomtest(hits, hits + missed, alternative="greater").proportion_ci(confidence).low
    assert recall_bound(hits, hits + missed, confidence) == pytest.approx(expected)


@given(positives=st.integers(1, 200), bound=st.sampled_from([0.5, 0.8, 0.95]))
@settings(max_examples=60, deadline=None)
def test_hits_needed_are_the_fewest_that_keep_the_bound(positives, bound):
    needed = hits_needed(positives, 1.0, bound, 0.95)
    keeps = [h for h in range(positives + 1) if recall_bound(h, positives, 0.95) >= bound]
    assert needed == (keeps[0] if keeps else positives + 1)


def test_positives_of_one_group_count_as_one():
    labels = np.array([[1, 1, 1, 1, 0, 1]]).T
    assert effective_share(labels, np.array([0, 0, 0, 0, 1, 0])) == pytest.approx((1 / 5,))
    assert effective_share(labels, np.array([0, 1, 2, 3, 4, 5])) == (1.0,)
    assert effective_share(labels, None) == (1.0,)


def test_a_promised_recall_is_kept_in_95_percent_of_tables():
    """1,000 tables: positives and negatives from two normals; the recall on new rows is known."""
    random = np.random.default_rng(0)
    kept = []
    for _ in range(1000):
        y = np.repeat([1, 0], [60, 300])
        scores = random.normal(size=360) + y
        p = torch.from_numpy((1 / (1 + np.exp(-scores))).astype(np.float32))[None, :, None]
        cut = float(best_thresholds(rank(p, torch.from_numpy(y)[:, None]), PROMISE))
        at = np.log(cut / (1 - cut))
        kept.append(0.5 * (1 - torch.erf(torch.tensor((at - 1) / 2**0.5))).item() >= 0.8)
    assert np.mean(kept) >= 0.95 - 3 * (0.95 * 0.05 / 1000) ** 0.5
    # The cut may find more than it must, since precision decides among those that keep the promise.
    assert hits_needed(60, 1.0, 0.8, 0.95) == next(
        h for h in range(61) if beta.ppf(0.05, h, 61 - h) >= 0.8
    )


def test_a_promise_to_groups_needs_more():
    random = np.random.default_rng(1)
    y = torch.from_numpy(np.repeat([1, 0], [100, 400]))[:, None]
    p = torch.from_numpy(random.random(500).astype(np.float32))[None, :, None]
    groups = np.arange(500) // 4
    alone = best_thresholds(rank(p, y), PROMISE)
    metric = PROMISE.for_rows(effective_share(y.numpy(), groups))
    assert best_thresholds(rank(p, y), metric) < alone


def test_where_positives_cannot_carry_the_promise_it_says_what_they_can_and_finds_all():
    y = torch.from_numpy(np.repeat([1, 0], [9, 200]))[:, None]
    p = torch.linspace(0.9, 0.1, 209)[None, :, None]
    assert int((p >= best_thresholds(rank(p, y), PROMISE)).sum()) == 9
    found = broken_promises(y.numpy(), None, ("rare",), 0.8, 0.95)
    assert found["rare"].startswith("its 9 positives can promise a recall of 0.72 at most")
    many = np.repeat([1, 0], [30, 200])[:, None]
    assert broken_promises(many, None, ("rare",), 0.8, 0.95) == {}


@pytest.mark.parametrize("text", ["recall>=0.8@1", "recall>=1@0.95", "recall>=0.8@0.2", "f1@0.9"])
def test_a_promise_that_means_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="is not known; the forms are"):
        parse_threshold_metric(text)


def test_a_label_that_is_ranked_by_chance_or_has_few_positives_is_doubted():
    random = np.random.default_rng(0)
    y = (random.random((2000, 3)) < 0.05).astype(np.float32)
    p = random.random((2000, 3)).astype(np.float32)
    p[:, 2] = 0.5 * p[:, 2] + 0.5 * y[:, 2]
    positives = [200, 12, 200]
    found = doubts(
        torch.from_numpy(p),
        torch.from_numpy(y),
        None,
        ("noise", "few", "sound"),
        positives,
        parse_threshold_metric("f1"),
    )
    assert found.keys() == {"noise", "few"}
    assert "not ranked better than by chance" in found["noise"]
    assert "12 positives outside the test rows" in found["few"]
