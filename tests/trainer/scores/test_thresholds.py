"""Thresholds against a plain search over every cut of every member and label."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from trainer.errors import ConfigError
from trainer.scores import thresholds as module
from trainer.scores.metrics import confusion, rank
from trainer.scores.thresholds import (
    MIN_POSITIVES,
    best_thresholds,
    cross_fit,
    parse_threshold_metric,
    shrunk_labels,
)


def ratio(part, whole):
    return part / whole if whole else 0.0


def f_beta(square, tp, fp, fn):
    return ratio((1 + square) * tp, (1 + square) * tp + square * fn + fp)


def at_least(bounded, bound, free):
    return 1 + free if bounded >= bound else bounded


SCORES = {
    "f1": lambda tp, fp, fn, tn: f_beta(1, tp, fp, fn),
    "f2": lambda tp, fp, fn, tn: f_beta(4, tp, fp, fn),
    "f0.5": lambda tp, fp, fn, tn: f_beta(0.25, tp, fp, fn),
    "balanced_accuracy": lambda tp, fp, fn, tn: (ratio(tp, tp + fn) + ratio(tn, tn + fp)) / 2,
    "recall>=0.8": lambda tp, fp, fn, tn: at_least(ratio(tp, tp + fn), 0.8, ratio(tp, tp + fp)),
    "precision>=0.5": lambda tp, fp, fn, tn: at_least(ratio(tp, tp + fp), 0.5, ratio(tp, tp + fn)),
    "precision>=1": lambda tp, fp, fn, tn: at_least(ratio(tp, tp + fp), 1, ratio(tp, tp + fn)),
    "fn=10,fp=1": lambda tp, fp, fn, tn: -(10 * fn + fp),
    "fp=2.5,fn=1": lambda tp, fp, fn, tn: -(fn + 2.5 * fp),
}


def search_cut(text, p, y):
    """Rows above the best cut: the best score, then the most positives, then the fewest rows."""
    best = None
    for value in [2.0, *sorted(set(p), reverse=True)]:
        tp = sum(a >= value and b for a, b in zip(p, y, strict=True))
        fp = sum(a >= value and not b for a, b in zip(p, y, strict=True))
        fn, tn = sum(y) - tp, len(y) - sum(y) - fp
        key = (SCORES[text](tp, fp, fn, tn), tp, -fp)
        if best is None or key > best:
            best = key
    return best[1] - best[2]


def search_thresholds(text, probabilities, labels):
    """best_thresholds in plain loops; probabilities (K, N, L), labels (N, L)."""
    found = np.empty((probabilities.shape[0], labels.shape[1]), dtype=np.float32)
    n_pos = [int(column.sum()) for column in labels.T]
    for k, member in enumerate(probabilities):
        rows = [
            search_cut(text, p.tolist(), y.tolist())
            for p, y in zip(member.T, labels.T, strict=True)
        ]
        for label, column in enumerate(member.T):
            trust = min(n_pos[label] / MIN_POSITIVES, 1)
            pooled = sum(rows) / max(sum(n_pos), 1) * n_pos[label]
            cut = round(trust * rows[label] + (1 - trust) * pooled)
            above = np.nextafter(np.float32(1), np.float32(2))
            ordered = [above, *sorted(column, reverse=True), *[np.float32(0)] * (cut + 1)]
            upper, lower = ordered[cut], ordered[cut + 1]
            middle = np.float32((float(upper) + float(lower)) / 2)
            found[k, label] = middle if middle > lower else upper
    return found


QUARTER = np.float32(0.25)
FEW = st.sampled_from([0.0, 0.25, float(np.nextafter(QUARTER, np.float32(1))), 0.5, 0.75, 1.0])
ANY = st.floats(0, 1, width=32, allow_subnormal=False)


@st.composite
def cases(draw, min_rows=1):
    """Probabilities (K, N, L) with or without ties, labels (N, L) and folds (N,)."""
    n_rows, n_labels = draw(st.integers(min_rows, 30)), draw(st.integers(1, 2))
    members = draw(st.integers(1, 2))
    size = members * n_rows * n_labels
    values = draw(st.lists(draw(st.sampled_from([FEW, ANY])), min_size=size, max_size=size))
    bits = draw(st.lists(st.booleans(), min_size=n_rows * n_labels, max_size=n_rows * n_labels))
    folds = [0, 1, *draw(st.lists(st.integers(0, 2), min_size=n_rows, max_size=n_rows))]
    probabilities = torch.tensor(values).view(members, n_rows, n_labels)
    return probabilities, torch.tensor(bits).view(n_rows, n_labels), torch.tensor(folds[:n_rows])


def random_case(n_rows, levels=None, seed=0, rates=(0.02, 0.1, 0.3), members=2):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n_rows, len(rates), generator=generator) < torch.tensor(rates)
    logits = torch.randn(members, n_rows, len(rates), generator=generator) + 1.5 * labels - 1
    probabilities = torch.sigmoid(logits)
    if levels:
        probabilities = (probabilities * levels).round() / levels
    return probabilities, labels, torch.randint(0, 5, (n_rows,), generator=generator)


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from(sorted(SCORES)))
def test_no_cut_is_better_on_any_rows(case, text):
    probabilities, labels, _ = case
    actual = best_thresholds(rank(probabilities, labels), parse_threshold_metric(text))
    np.testing.assert_array_equal(
        actual, search_thresholds(text, probabilities.numpy(), labels.numpy())
    )


@pytest.mark.parametrize("text", SCORES)
@pytest.mark.parametrize("levels", [None, 12], ids=["continuous", "tied"])
def test_no_cut_is_better_for_rare_and_frequent_labels(text, levels):
    probabilities, labels, _ = random_case(150, levels)
    actual = best_thresholds(rank(probabilities, labels), parse_threshold_metric(text))
    np.testing.assert_array_equal(
        actual, search_thresholds(text, probabilities.numpy(), labels.numpy())
    )


def test_f1_at_the_threshold_is_the_highest_of_scikit_learns_curve():
    """Thousands of rows, where neighbouring cuts score almost the same."""
    probabilities, labels, _ = random_case(5000, rates=(0.05, 0.1, 0.2), members=10)
    thresholds = best_thresholds(rank(probabilities, labels), parse_threshold_metric("f1"))
    reached = confusion(probabilities, labels, thresholds).f_beta()
    for k, label in np.ndindex(10, 3):
        y, p = labels[:, label].numpy(), probabilities[k, :, label].numpy()
        precision, recall, _ = precision_recall_curve(y, p)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        assert float(reached[k, label]) == pytest.approx(f1.max(), rel=1e-12)


def subset_counts(probabilities, labels, folds, metric):
    """cross_fit by a loop: (4, K, L) of tp, fp, fn, tn."""
    total = 0
    for fold in folds.unique():
        rest, held = folds != fold, folds == fold
        thresholds = best_thresholds(rank(probabilities[:, rest], labels[rest]), metric)
        counts = confusion(probabilities[:, held], labels[held], thresholds)
        total = total + torch.stack((counts.tp, counts.fp, counts.fn, counts.tn))
    return total


def pooled(counts):
    return torch.stack((counts.tp, counts.fp, counts.fn, counts.tn))


@settings(max_examples=100, deadline=None)
@given(cases(min_rows=2), st.sampled_from(sorted(SCORES)))
def test_cross_fitting_equals_a_loop_over_folds_on_any_rows(case, text):
    metric = parse_threshold_metric(text)
    actual = cross_fit(rank(*case), metric).counts
    assert torch.equal(pooled(actual), subset_counts(*case, metric))


@pytest.mark.parametrize("text", SCORES)
@pytest.mark.parametrize("levels", [None, 12], ids=["continuous", "tied"])
def test_cross_fitting_equals_a_loop_over_folds(text, levels):
    """Among the labels are rare ones that are shrunk, some only where a fold is left out."""
    case, metric = random_case(400, levels, rates=(0.012, 0.03, 0.2)), parse_threshold_metric(text)
    assert torch.equal(pooled(cross_fit(rank(*case), metric).counts), subset_counts(*case, metric))


def test_cross_fitting_is_not_fooled_by_noise():
    """On labels without signal the tuned F1 flatters itself; the cross-fitted one does not."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(400, 5, generator=generator) < 0.05
    ranking = rank(torch.rand(8, 400, 5, generator=generator), labels, torch.arange(400) % 5)
    metric = parse_threshold_metric("f1")
    tuned = torch.stack([metric_at_best(ranking, label) for label in range(5)]).mean()
    fitted = cross_fit(ranking, metric).counts.f_beta().mean()
    assert fitted < 0.8 * tuned


def metric_at_best(ranking, label):
    """Highest F1 over all cuts, averaged over the members."""
    hits, rows = ranking.hits[:, label], ranking.rows[:, label]
    return (2 * hits / (rows + ranking.n_pos[label])).amax(dim=-1).mean()


def test_cross_fitting_needs_folds():
    probabilities, labels, folds = random_case(30)
    for ranking in (rank(probabilities, labels), rank(probabilities, labels, folds * 0)):
        with pytest.raises(ValueError, match="at least 2 folds"):
            cross_fit(ranking, parse_threshold_metric("f1"))


def one_label(pairs):
    """Ranking of one member and label from (probability, is positive), repeated to 10 positives."""
    values, labels = zip(*pairs, strict=True)
    return rank(
        torch.tensor(values * MIN_POSITIVES)[None, :, None],
        torch.tensor(labels * MIN_POSITIVES)[:, None],
    )


def threshold(text, pairs):
    found = best_thresholds(one_label(pairs), parse_threshold_metric(text))
    assert found.dtype == torch.float32
    return found.item()


def test_threshold_lies_midway_between_its_neighbours():
    assert threshold("f1", [(0.75, True), (0.25, False)]) == 0.5
    assert threshold("f1", [(0.75, True), (0.5, True)]) == 0.25
    assert threshold("fn=1,fp=100", [(0.5, False), (0.25, True)]) == pytest.approx(0.75)


@pytest.mark.parametrize("lower", [0.0, 0.5, 1.0 - 2**-24])
def test_threshold_separates_adjacent_floats(lower):
    upper = float(np.nextafter(np.float32(lower), np.float32(2)))
    assert threshold("f1", [(upper, True), (lower, False)]) == upper


def test_predicting_nothing_excludes_even_a_certain_row():
    assert threshold("fn=1,fp=100", [(1.0, False), (1.0, True)]) > 1.0


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_probabilities_are_all_selected(value):
    assert 0.0 <= threshold("f1", [(value, True), (value, False)]) <= np.float32(value)


def test_recall_is_kept_at_the_best_precision():
    """Four of five positives are enough; the fifth would cost precision."""
    pairs = [(0.9, True)] * 4 + [(0.5, False), (0.3, True)]
    assert threshold("recall>=0.8", pairs) == pytest.approx(0.7)
    assert threshold("recall>=0.81", pairs) == pytest.approx(0.15)


def test_precision_out_of_reach_gives_the_highest_precision():
    pairs = [(0.9, False), (0.7, True), (0.6, False), (0.5, False), (0.4, True)]
    assert threshold("precision>=0.9", pairs) == pytest.approx(0.65)
    assert threshold("precision>=0.4", pairs) == pytest.approx(0.2)


def test_a_rare_label_is_pulled_towards_the_rows_per_positive_of_all():
    """Own optimum 1 row for 2 positives, all labels together 21 rows for 42: 0.2 x 1 + 0.8 x 1."""
    n = 100
    places = torch.linspace(0.99, 0.01, n)
    labels = torch.zeros(n, 2, dtype=torch.bool)
    labels[:40, 0] = True
    labels[[0, 99], 1] = True
    ranking = rank(places.repeat(2, 1).T[None], labels)
    assert shrunk_labels(ranking, parse_threshold_metric("f1")).tolist() == [False, True]
    selected = ranking.rows_reaching(best_thresholds(ranking, parse_threshold_metric("f1")))
    pooled_rows = (40 + 1) / (40 + 2) * 2
    assert selected.tolist() == [[40, round(0.2 * 1 + 0.8 * pooled_rows)]]


def test_shrinking_is_inert_where_every_label_has_enough_positives(monkeypatch):
    case, metric = random_case(300, rates=(0.1, 0.3)), parse_threshold_metric("f1")
    ranking = rank(*case)
    assert not shrunk_labels(ranking, parse_threshold_metric("f1")).any()
    expected = best_thresholds(ranking, metric), pooled(cross_fit(ranking, metric).counts)
    monkeypatch.setattr(module, "MIN_POSITIVES", 1)
    assert torch.equal(best_thresholds(ranking, metric), expected[0])
    assert torch.equal(pooled(cross_fit(ranking, metric).counts), expected[1])


def test_shrinking_helps_a_label_with_few_positives(monkeypatch):
    """F1 on fresh rows, 300 draws of a label with 4 positives beside three frequent ones."""
    rates = torch.tensor([0.04, 0.05, 0.06, 0.01])
    shift, scale = torch.tensor([1.0, 1.2, 1.5, 1.3]), torch.tensor([1.0, 0.5, 2.0, 0.7])
    generator = torch.Generator().manual_seed(0)

    def draw(members, n_rows):
        labels = torch.arange(n_rows)[:, None] < rates * n_rows
        noise = torch.randn(members, n_rows, 4, generator=generator)
        return torch.sigmoid((noise + shift * labels) * scale - 2), labels

    metric = parse_threshold_metric("f1")
    ranking = rank(*draw(300, 400))
    fresh, labels = draw(1, 20_000)
    scores = []
    for least in (MIN_POSITIVES, 1):
        monkeypatch.setattr(module, "MIN_POSITIVES", least)
        counts = confusion(fresh.expand(300, -1, -1), labels, best_thresholds(ranking, metric))
        scores.append(counts.f_beta().mean(dim=0)[3])
    assert scores[0] > 1.1 * scores[1]


def test_a_label_without_positives_is_never_predicted():
    probabilities, labels, folds = random_case(100, rates=(0.2, 0.2))
    labels[:, 1] = False
    for text in SCORES:
        metric = parse_threshold_metric(text)
        ranking = rank(probabilities, labels, folds)
        counts = confusion(probabilities, labels, best_thresholds(ranking, metric))
        assert counts.fp[:, 1].tolist() == [0, 0]
        assert cross_fit(ranking, metric).counts.fp[:, 1].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("F1", "f1"),
        (" recall >= 0.8 ", "recall>=0.8"),
        ("fn = 10, fp = 1", "fn=10,fp=1"),
    ],
)
def test_case_and_blanks_do_not_matter(text, same):
    assert parse_threshold_metric(text) == parse_threshold_metric(same)
    assert parse_threshold_metric(text) != parse_threshold_metric("f3")


@pytest.mark.parametrize(
    "text",
    [
        *("", "f", "f0", "f-1", "f1 score", "accuracy", "recall", "recall>0.8", "recall>=0"),
        *("recall>=1.1", "precision>=nan", "fn=1", "fn=1,fn=2", "fn=0,fp=1", "fn=1,fp=-1"),
    ],
)
def test_anything_else_is_refused_with_the_forms(text):
    with pytest.raises(ConfigError, match=r"f0\.5 .*balanced_accuracy.*recall>=0\.8.*fn=10,fp=1"):
        parse_threshold_metric(text)
