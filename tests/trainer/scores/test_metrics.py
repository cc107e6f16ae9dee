import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from trainer.scores.metrics import (
    Counts,
    average_precision,
    confusion,
    rank,
    roc_auc,
    sort_on_device,
)
from trainer.scores.thresholds import best_thresholds, cross_fit, parse_threshold_metric

SPACING = {"continuous": None, "tied": 20, "heavily tied": 3}


def draw(members, n_rows, n_labels, seed=0, levels=None, rate=0.1):
    """Probabilities, labels and folds; `levels` rounds the probabilities to that many steps."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n_rows, n_labels, generator=generator) < rate).float()
    logits = torch.randn(members, n_rows, n_labels, generator=generator) + labels - 1
    probabilities = torch.sigmoid(logits)
    if levels:
        probabilities = (probabilities * levels).round() / levels
    folds = torch.randperm(n_rows, generator=generator) % 5
    return probabilities, labels, folds


def against(function, probabilities, labels):
    """Apply a scikit-learn metric of (labels, scores) to each member and label."""
    return np.array(
        [
            [function(y, p) for p, y in zip(member.T.numpy(), labels.T.numpy(), strict=True)]
            for member in probabilities
        ]
    )


@pytest.mark.parametrize("levels", SPACING.values(), ids=SPACING)
def test_average_precision_and_roc_auc_equal_scikit_learn(levels):
    probabilities, labels, folds = draw(3, 300, 4, levels=levels)
    for ranking in (rank(probabilities, labels), rank(probabilities, labels, folds)):
        np.testing.assert_allclose(
            average_precision(ranking),
            against(reference.average_precision_score, probabilities, labels),
            rtol=1e-12,
        )
        np.testing.assert_allclose(
            roc_auc(ranking), against(reference.roc_auc_score, probabilities, labels), rtol=1e-12
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_average_precision_and_roc_auc_equal_scikit_learn_on_any_row(data):
    values = st.sampled_from([0.0, 0.25, float(np.nextafter(np.float32(0.25), 1)), 0.5, 1.0])
    rows = st.tuples(values | st.floats(0, 1, width=32, allow_subnormal=False), st.booleans())
    scores, labels = zip(*data.draw(st.lists(rows, min_size=2, max_size=30)), strict=True)
    if len(set(labels)) < 2:
        labels = (not labels[0], *labels[1:])
    ranking = rank(torch.tensor(scores)[None, :, None], torch.tensor(labels)[:, None])
    expected = reference.average_precision_score(labels, scores)
    assert average_precision(ranking).item() == pytest.approx(expected, rel=1e-12)
    expected = reference.roc_auc_score(labels, scores)
    assert roc_auc(ranking).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_each_positive_knows_the_rows_and_positives_with_at_least_its_probability():
    probabilities, labels, _ = draw(2, 120, 3, levels=10, rate=0.3)
    ranking = rank(probabilities, labels)
    for k in range(2):
        for label in range(3):
            p, y = probabilities[k, :, label], labels[:, label] > 0
            own = sorted(p[y].tolist(), reverse=True)
            rows = [0] + [int((p >= value).sum()) for value in own]
            hits = [0] + [int((p[y] >= value).sum()) for value in own]
            n_pos = int(ranking.n_pos[label])
            assert ranking.rows[k, label, : n_pos + 1].tolist() == rows
            assert ranking.hits[k, label, : n_pos + 1].tolist() == hits


def test_places_hold_the_sorted_probabilities_and_folds_stay_with_their_rows():
    probabilities, labels, folds = draw(2, 90, 2)
    ranking = rank(probabilities, labels, folds)
    places = torch.arange(1, 91).expand(2, 2, 90)
    order = probabilities.transpose(1, 2).sort(descending=True)
    assert torch.equal(ranking.probability(places).float(), order.values)
    assert torch.equal(ranking.folds().long(), folds[order.indices])


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_ratios_of_counts_equal_scikit_learn(beta):
    probabilities, labels, _ = draw(2, 200, 3)
    thresholds = torch.tensor([[0.2, 0.4, 0.6], [0.3, 0.5, 0.7]])
    counts = confusion(probabilities, labels, thresholds)
    decided = (probabilities >= thresholds[:, None]).float()
    for actual, function in (
        (counts.precision(), reference.precision_score),
        (counts.recall(), reference.recall_score),
        (counts.f_beta(beta), lambda y, d: reference.fbeta_score(y, d, beta=beta)),
        (counts.balanced_accuracy(), reference.balanced_accuracy_score),
        (counts.predicted_share(), lambda y, d: d.mean()),
    ):
        np.testing.assert_allclose(actual, against(function, decided, labels), rtol=1e-6)
        assert actual.dtype == torch.float64


def test_confusion_counts_every_row_once_and_includes_the_threshold():
    probabilities = torch.tensor([[[0.2], [0.5], [0.5], [0.9], [0.1]]])
    labels = torch.tensor([[1], [1], [0], [1], [0]])
    counts = confusion(probabilities, labels, torch.tensor([[0.5]]))
    assert [int(n) for n in (counts.tp, counts.fp, counts.fn, counts.tn)] == [2, 1, 1, 1]


def test_undefined_ratios_are_zero():
    nothing = Counts(*[torch.zeros(1, 1, dtype=torch.int64)] * 4)
    for ratio in (
        nothing.precision(),
        nothing.recall(),
        nothing.f_beta(),
        nothing.predicted_share(),
    ):
        assert ratio.tolist() == [[0.0]]


def test_a_label_with_one_value_spoils_no_other():
    probabilities, labels, _ = draw(2, 50, 3)
    expected = rank(probabilities, labels)
    labels[:, 1] = 0
    without = rank(probabilities, labels)
    for score, undefined in ((average_precision, 0.0), (roc_auc, float("nan"))):
        actual = score(without)
        np.testing.assert_array_equal(actual[:, 1], undefined)
        assert torch.equal(actual[:, [0, 2]], score(expected)[:, [0, 2]])
    labels[:] = 0
    assert average_precision(rank(probabilities, labels)).tolist() == [[0.0] * 3] * 2


def everything(probabilities, labels, folds):
    """All scores of the members in one list of tensors with a leading K."""
    metric = parse_threshold_metric("f1")
    ranking = rank(probabilities, labels, folds)
    thresholds = best_thresholds(ranking, metric)
    thresholds_of_folds, fitted = cross_fit(ranking, metric)
    counts = confusion(probabilities, labels, thresholds)
    return [
        average_precision(ranking),
        roc_auc(ranking),
        thresholds,
        thresholds_of_folds,
        *(fitted.tp, fitted.fp, fitted.fn, fitted.tn, fitted.f_beta()),
        *(counts.tp, counts.fp, counts.f_beta(), counts.balanced_accuracy()),
    ]


@pytest.mark.parametrize("n_labels", [1, 7])
@pytest.mark.parametrize("levels", SPACING.values(), ids=SPACING)
def test_a_member_scores_bitwise_as_if_alone(n_labels, levels):
    probabilities, labels, folds = draw(8, 1237, n_labels, levels=levels, rate=0.05)
    together = everything(probabilities, labels, folds)
    for k in range(8):
        alone = everything(probabilities[k : k + 1], labels, folds)
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[k])


def test_a_diverged_member_counts_as_zero_probabilities_and_disturbs_no_other():
    probabilities, labels, folds = draw(3, 200, 2)
    broken = probabilities.clone()
    broken[1] = float("nan")
    zeros = probabilities.clone()
    zeros[1] = 0.0
    n_scores = 8  # those that come from the ranking; a decision on a NaN itself is negative
    for actual, whole, zero in zip(
        *(everything(p, labels, folds)[:n_scores] for p in (broken, probabilities, zeros)),
        strict=True,
    ):
        assert torch.equal(actual[[0, 2]], whole[[0, 2]])
        assert torch.equal(actual[1], zero[1])


def test_ranking_leaves_its_input_as_it_was():
    probabilities, labels, folds = draw(2, 50, 2)
    before = probabilities.clone(), labels.clone(), folds.clone()
    rank(probabilities, labels, folds)
    for now, then in zip((probabilities, labels, folds), before, strict=True):
        assert torch.equal(now, then)


def test_more_folds_than_a_key_can_hold_are_refused():
    with pytest.raises(ValueError, match="at most 128 folds"):
        rank(torch.rand(1, 200, 1), torch.zeros(200, 1), torch.arange(200))


def test_a_gpus_sort_ranks_as_the_cpus(monkeypatch):
    """The way that keys go on a GPU, here on the CPU."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, 200, 4, generator=generator).mul(50).round().div(50)
    labels = (torch.rand(200, 4, generator=generator) < 0.2).float()
    fast = rank(probabilities, labels, torch.arange(200) % 5)
    monkeypatch.setattr("trainer.scores.metrics._sorted", sort_on_device)
    slow = rank(probabilities, labels, torch.arange(200) % 5)
    for name in ("keys", "rows", "hits", "n_pos"):
        assert torch.equal(getattr(fast, name), getattr(slow, name))
