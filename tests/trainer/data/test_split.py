from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.split import fold_rows, split_rows
from trainer.errors import ConfigError, TableError

NAMES = ("a", "b", "c")


def make_labels(n_rows: int, seed: int = 0, rate: float = 0.06) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((n_rows, len(NAMES))) < rate).astype(np.float32)


def make_groups(n_rows: int, seed: int = 0) -> np.ndarray:
    """Groups of 1 to some 15 rows, scattered over the table."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_rows), random.geometric(0.4, n_rows))[:n_rows]
    return np.unique(random.permutation(codes), return_inverse=True)[1].astype(np.int64)


def split(labels, groups=None, *, val_size=0.15, test_size=0.2, seed=0):
    return split_rows(
        labels,
        groups,
        label_names=NAMES[: labels.shape[1]],
        val_size=val_size,
        test_size=test_size,
        seed=seed,
    )


def parts(result):
    return [result.train, result.validation, result.test]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    val_size=st.floats(0.1, 0.4),
    test_size=st.sampled_from([0, 0.1, 0.25]),
    grouped=st.booleans(),
)
def test_parts_are_sorted_and_hold_every_row_once(seed, val_size, test_size, grouped):
    labels, groups = make_labels(1500), make_groups(1500) if grouped else None
    result = split(labels, groups, val_size=val_size, test_size=test_size, seed=seed)
    rows = np.concatenate(parts(result))
    np.testing.assert_array_equal(np.sort(rows), np.arange(1500))
    for part in parts(result):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
        if groups is not None:
            assert not np.isin(np.delete(groups, part), groups[part]).any()


@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_rows_are_stratified_over_every_label(seed, n_labels):
    """Each part gets its share of rows to one row, and of each label's positives to a few."""
    labels = make_labels(3000, seed)[:, :n_labels]
    for part, share in zip(parts(split(labels, seed=seed)), (0.65, 0.15, 0.2), strict=True):
        assert abs(len(part) - share * len(labels)) <= 1
        np.testing.assert_allclose(labels[part].sum(0), share * labels.sum(0), atol=3)


@pytest.mark.parametrize("seed", range(5))
def test_uneven_groups_keep_the_shares_of_rows_and_positives(seed):
    labels, groups = make_labels(6000, seed, rate=0.05), make_groups(6000, seed)
    for part, share in zip(parts(split(labels, groups)), (0.65, 0.15, 0.2), strict=True):
        assert len(part) == pytest.approx(share * len(labels), rel=0.005)
        np.testing.assert_allclose(labels[part].sum(0), share * labels.sum(0), rtol=0.1)


@pytest.mark.parametrize("groups", [None, make_groups(2000)])
def test_the_seed_alone_decides_and_the_global_generator_is_left_alone(groups):
    labels = make_labels(2000)
    np.random.seed(1)
    first = split(labels, groups, seed=7)
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    again, other = split(labels, groups, seed=7), split(labels, groups, seed=8)
    np.random.seed(1)
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    np.testing.assert_array_equal(first.validation, again.validation)
    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.validation, other.validation)


def test_rows_without_a_positive_are_dealt_at_random():
    """A part must not be one stretch of the file."""
    result = split(make_labels(2000))
    thirds = np.histogram(result.test, bins=4, range=(0, 2000))[0]
    assert thirds.min() > 60


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_are_even_and_stratified_and_keep_groups_whole(grouped):
    labels, groups = make_labels(2000), make_groups(2000) * 3 + 5 if grouped else None
    fold = fold_rows(labels, groups, n_folds=5, seed=0)
    assert set(fold) == set(range(5))
    slack = 12 if grouped else 1
    assert np.ptp(np.bincount(fold)) <= slack
    for label in labels.T:
        assert np.ptp(np.bincount(fold[label == 1])) <= (6 if grouped else 4)
    if groups is not None:
        pairs = np.unique(np.stack([groups, fold]), axis=1)
        assert len(pairs.T) == len(np.unique(groups))
    np.testing.assert_array_equal(fold, fold_rows(labels, groups, n_folds=5, seed=0))


def test_folds_take_a_part_without_a_positive():
    fold = fold_rows(np.zeros((11, 2)), None, n_folds=5, seed=0)
    assert sorted(np.bincount(fold)) == [2, 2, 2, 2, 3]


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(TableError, match=r"5 folds need at least 5 groups, .* only 3 to deal"):
        fold_rows(make_labels(90), np.arange(90) % 3, n_folds=5, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_size": 0.0}, "--val_size must be over 0"),
        ({"val_size": 1.0}, "--val_size must be over 0"),
        ({"val_size": float("nan")}, "--val_size must be over 0"),
        ({"test_size": -0.1}, "--test_size must be 0 or more"),
        ({"test_size": 1.0}, "--test_size must be 0 or more"),
        ({"val_size": 0.5, "test_size": 0.5}, "their sum must be under 1"),
        ({"seed": -1}, "--seed must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        split(make_labels(500), **settings)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(600), "it groups nothing; leave out --group"),
        (np.zeros(600, dtype=np.int64), "only 1 group for 3 parts"),
        (np.arange(600) % 2, "only 2 groups for 3 parts"),
    ],
)
def test_groups_too_fine_or_too_coarse_are_refused(groups, message):
    with pytest.raises(TableError, match=message):
        split(make_labels(600), groups)


def test_two_groups_suffice_without_a_test_part():
    result = split(make_labels(600), np.arange(600) % 2, test_size=0, val_size=0.5)
    assert [len(part) for part in parts(result)] == [300, 300, 0]


def test_a_label_with_too_few_positives_is_refused_with_its_counts():
    labels = make_labels(600)
    labels[:, 1] = np.arange(600) < 5
    with pytest.raises(TableError, match=r"'b' has 5 positives, and the .* part got . where 2"):
        split(labels)
    with pytest.raises(TableError, match="'b' has 5 positives in 1 groups"):
        split(labels, np.arange(600) // 10)
    labels[:, 1] = np.arange(600) >= 5
    with pytest.raises(TableError, match="'b' has 5 negatives"):
        split(labels)


def many_labels(least=20):
    """200 labels of 20 to 60 positives each in 400 rows: every second deal falls short of one."""
    random = np.random.default_rng(0)
    labels = np.zeros((400, 200), dtype=np.float32)
    for label in labels.T:
        label[random.choice(400, random.integers(least, 60), replace=False)] = 1
    return labels


def split_many(labels, seed):
    names = [str(i) for i in range(labels.shape[1])]
    sizes = {"val_size": 0.2, "test_size": 0.2}
    return split_rows(labels, None, label_names=names, seed=seed, **sizes)


def test_a_split_that_exists_is_found(monkeypatch):
    labels = many_labels()
    found = [split_many(labels, seed) for seed in range(20)]
    for result in found:
        for part in parts(result):
            assert labels[part].sum(0).min() >= 2
    np.testing.assert_array_equal(split_many(labels, 0).test, found[0].test)
    monkeypatch.setattr("trainer.data.split._deal_again", None)  # first deals stay what they were
    first = 0
    for seed, result in enumerate(found):
        with suppress(TypeError):
            np.testing.assert_array_equal(split_many(labels, seed).test, result.test)
            first += 1
    assert 5 < first < 15


def test_where_no_deal_will_do_the_advice_fits(monkeypatch):
    monkeypatch.setattr("trainer.data.split.DEALS", 3)
    labels = np.hstack([np.roll(many_labels(), shift, axis=0) for shift in range(5)])
    with pytest.raises(TableError, match=r"'\d+' has 2\d positives.*2 other deals.*rarest labels"):
        split_many(labels, 0)
    labels[:, 3] = np.arange(400) < 5
    with pytest.raises(TableError, match=r"'3' has 5 positives.*some 10 would do"):
        split_many(labels, 0)
