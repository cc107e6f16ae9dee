import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import RobustScaler

from trainer.data.features import Features, fit_features
from trainer.data.table import Roles, Table
from trainer.errors import CheckpointError, TableError

N = 400
TRAIN = np.arange(0, N, 2)


def make_table(columns: dict[str, object], sequence: str | None = None) -> Table:
    frame = pd.DataFrame(
        {
            name: pd.Series(values, dtype=np.float64 if np.isreal(values[0]) else object)
            for name, values in columns.items()
        }
    )
    numeric = tuple(name for name in frame if frame[name].dtype == np.float64)
    return Table(
        path=Path("made.csv"),
        roles=Roles(("ill",), sequence=sequence),
        columns=frame,
        numeric=numeric,
        categorical=tuple(name for name in frame if name not in {*numeric, sequence}),
        labels=np.zeros((len(frame), 1), dtype=np.float32),
        groups=None,
        hash="",
    )


@pytest.fixture(scope="module")
def table() -> Table:
    """Numbers, some missing together, texts and digit strings, as a real table has them."""
    random = np.random.default_rng(0)
    missing = random.random(N) < 0.2
    return make_table(
        {
            "normal": random.normal(100, 15, N),
            "skewed": np.where(missing, np.nan, random.lognormal(0, 2, N)),
            "count": np.where(missing, np.nan, random.poisson(0.4, N)),
            "flag": random.integers(0, 2, N),
            "same": np.ones(N),
            "none": np.full(N, np.nan),
            "digits": ["".join(map(str, random.integers(0, 3, k))) for k in random.poisson(9, N)],
            "status": [None if u < 0.1 else "abcd"[int(4 * u * u)] for u in random.random(N)],
        },
        sequence="digits",
    )


@pytest.fixture(scope="module")
def features(table) -> Features:
    return fit_features(table, TRAIN)


def assert_same_state(one: Features, other: Features) -> None:
    (arrays_one, text_one), (arrays_other, text_other) = one.to_state(), other.to_state()
    assert text_one == text_other
    assert arrays_one.keys() == arrays_other.keys()
    for name, array in arrays_one.items():
        assert array.dtype == arrays_other[name].dtype
        assert array.tobytes() == arrays_other[name].tobytes(), name


def column(features: Features, matrix: np.ndarray, name: str) -> np.ndarray:
    return matrix[:, features.names.index(name)]


def test_values_are_scikit_learns_robust_scaling_smoothly_clipped(table, features):
    x = table.columns[["normal", "skewed"]].to_numpy()
    z = RobustScaler().fit(x[TRAIN]).transform(x)
    expected = np.nan_to_num(z / np.sqrt(1 + (z / 3) ** 2))
    out = features.transform(table.columns)
    for j, name in enumerate(("normal", "skewed")):
        np.testing.assert_allclose(column(features, out, name), expected[:, j], rtol=1e-5)


def test_pieces_sum_to_the_empirical_distribution_between_quartiles(table, features):
    """Quarters crossed, interpolated: four times the share of train rows below x."""
    out = features.transform(table.columns)
    x = table.columns["normal"].to_numpy()
    quartiles = np.quantile(x[TRAIN], (0, 0.25, 0.5, 0.75, 1))
    pieces = sum(column(features, out, f"normal piece {k}") for k in range(4))
    np.testing.assert_allclose(pieces, np.interp(x, quartiles, np.arange(5)), atol=1e-6)


def test_columns_are_named_and_what_does_not_vary_is_left_out(features):
    values = ["normal", "skewed", "count", "flag"]
    assert features.number_columns == tuple(values)
    assert features.text_columns == ("status", "digits")
    assert [name for name in features.names if name in {*values, "same", "none"}] == values
    assert [name for name in features.names if name.startswith("status")] == [
        *(f"status={value}" for value in "abcd"),
        "status missing",
    ]
    assert "digits.step_0_1" in features.names
    assert not any(name.startswith("flag piece") for name in features.names)


def test_numbers_missing_in_the_same_rows_share_one_column(table, features):
    out = features.transform(table.columns)
    assert next(name for name in features.names if name.endswith("missing")) == "skewed missing"
    assert "count missing" not in features.names
    np.testing.assert_array_equal(
        column(features, out, "skewed missing"), table.columns["skewed"].isna()
    )


def test_a_missing_number_stands_at_the_median(table, features):
    at_median = table.columns.assign(skewed=table.columns["skewed"][TRAIN].median())
    gone = features.transform(table.columns.assign(skewed=np.nan))
    known = features.transform(at_median)
    known[:, features.names.index("skewed missing")] = 1
    np.testing.assert_array_equal(gone, known)


def test_categories_are_one_hot_and_the_rare_and_the_unknown_are_all_zero():
    texts = ["b"] * 10 + ["a"] * 10 + ["c"] * 11 + ["rare"] * 4 + [None] * 5
    table = make_table({"t": texts})
    features = fit_features(table, np.arange(len(texts)))
    assert features.names == ("t=c", "t=a", "t=b", "t missing")
    new = pd.DataFrame({"t": ["a", "b", "c", "rare", "new", None, np.nan]})
    expected = [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0] * 4, [0] * 4, *[[0, 0, 0, 1]] * 2]
    np.testing.assert_array_equal(features.transform(new), expected)


def test_categories_are_capped_commonest_first():
    texts = [f"c{k:03}" for k in range(100) for _ in range(5 + (k == 99))]
    features = fit_features(make_table({"t": texts}), np.arange(len(texts)))
    assert features.names == ("t=c099", *(f"t=c{k:03}" for k in range(63)))


@pytest.mark.parametrize("row", [1, 57, N - 1])
def test_rows_outside_of_train_change_nothing(table, features, row):
    changed = table.columns.copy()
    changed.loc[row] = [1e9, -1e9, np.nan, 7, 0, 5, "9999999", "new"]
    assert_same_state(features, fit_features(replace(table, columns=changed), TRAIN))


def test_each_row_is_transformed_for_itself(table, features):
    columns = pd.concat([table.columns] * 6, ignore_index=True)  # over two blocks
    whole = features.transform(columns)
    order = np.random.default_rng(0).permutation(len(columns))
    assert features.transform(columns.iloc[order]).tobytes() == whole[order].tobytes()
    for size in (1, 7, 1024, 1500):
        part = features.transform(columns.iloc[-size:])
        assert part.tobytes() == whole[-size:].tobytes()
    assert features.transform(columns.iloc[:0]).shape == (0, len(features.names))


def test_written_into_a_wider_array_the_rest_stays_zero(table, features):
    expected = features.transform(table.columns)
    n, d = expected.shape
    wide = np.zeros((n + 5, d + 3), dtype=np.float32)
    features.write(table.columns, wide)
    np.testing.assert_array_equal(wide[:n, :d], expected)
    assert not wide[n:].any()
    assert not wide[:, d:].any()


def test_the_order_of_columns_and_further_ones_do_not_matter(table, features):
    shuffled = table.columns[table.columns.columns[::-1]].assign(extra="x", ill=2.0)
    shuffled = shuffled.drop(columns=["same", "none"])
    assert features.transform(shuffled).tobytes() == features.transform(table.columns).tobytes()


def test_a_state_comes_back_bit_for_bit_through_json(table, features):
    tensors, description = features.to_state()
    again = Features.from_state(
        {name: array.copy() for name, array in tensors.items()}, json.loads(json.dumps(description))
    )
    assert_same_state(features, again)
    assert again.names == features.names
    assert again.transform(table.columns).tobytes() == features.transform(table.columns).tobytes()


NUMBERS = st.floats(allow_infinity=False) | st.integers(-3, 3).map(float)


@settings(max_examples=150, deadline=None)
@given(
    train=arrays(np.float64, (9, 2), elements=NUMBERS), new=arrays(np.float64, 9, elements=NUMBERS)
)
def test_any_numbers_give_finite_output_in_range(train, new):
    """Whatever the size of numbers, from denormal to the largest."""
    table = make_table({"a": train[:, 0], "b": train[:, 1], "c": np.arange(9.0)})
    features = fit_features(table, np.arange(9))
    out = features.transform(pd.DataFrame({"a": new, "b": new, "c": new}))
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 3


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.none() | st.sampled_from(["a", "b", "new", ""]), min_size=3, max_size=3),
    digits=st.lists(st.none() | st.text("0123456789", max_size=5), min_size=3, max_size=3),
)
def test_any_texts_give_finite_output(features, texts, digits):
    frame = pd.DataFrame({"status": texts, "digits": digits}, dtype=object)
    frame[list(features.number_columns)] = np.nan
    assert np.isfinite(features.transform(frame)).all()


def test_absent_columns_are_named_together(table, features):
    with pytest.raises(TableError, match=r"lacks 3 columns .* 'normal', 'status', 'digits'; add"):
        features.transform(table.columns.drop(columns=["normal", "status", "digits", "same"]))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("normal", "high", "column 'normal' must hold numbers as it did in training, got 'high'"),
        ("normal", pd.Timestamp(0), "column 'normal' must hold numbers"),
        ("skewed", -np.inf, "column 'skewed' has 400 infinite values"),
        ("status", 1.0, "column 'status' must hold text as it did in training, got numbers"),
        ("digits", 1.0, "column 'digits' must hold text"),
        ("digits", "1x", "must hold digits only, got 'x' in '1x'"),
    ],
)
def test_values_of_another_kind_are_refused_by_column(table, features, name, values, message):
    with pytest.raises(TableError, match=message):
        features.transform(table.columns.assign(**{name: values}))


def test_columns_missing_throughout_are_taken_whatever_their_type(table, features):
    gone = table.columns.assign(normal=None, status=np.nan, digits=np.nan)
    gone["normal"] = gone["normal"].astype(object)
    assert np.isfinite(features.transform(gone)).all()


def test_train_rows_without_variation_are_refused():
    table = make_table({"a": [1.0, 1.0, 2.0], "t": ["x", "x", "y"]})
    with pytest.raises(TableError, match=r"no feature of made.csv varies over the 2 train rows"):
        fit_features(table, np.array([0, 1]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("median", lambda a: a[:-1]),
        ("median", lambda a: a * np.nan),
        ("spread", lambda a: a * 0),
        ("spread", lambda a: a.astype(np.float32)),
        ("scaled", lambda a: a - 1),
        ("flagged", lambda a: a + 1000),
        ("piece_of", lambda a: a[:-1]),
        ("low", lambda a: a[None]),
        ("width", lambda a: -a),
        ("width", None),
    ],
)
def test_a_state_with_a_wrong_array_is_refused(features, name, change):
    tensors, description = features.to_state()
    array = tensors.pop(name)
    if change:
        tensors[name] = change(array)
    with pytest.raises(CheckpointError, match=r"features can't be restored, ."):
        Features.from_state(tensors, description)


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": ["normal"]},
        {"numbers": "normal"},
        {"categories": [{"column": "status"}]},
        {"strings": {"column": "digits", "symbols": "01x", "kept": ["length"]}},
        {"strings": {"column": "digits", "symbols": "01", "kept": ["share_2"]}},
        {"more": 1},
    ],
)
def test_a_state_with_a_wrong_description_is_refused(features, change):
    tensors, description = features.to_state()
    with pytest.raises(CheckpointError, match=r"features can't be restored, ."):
        Features.from_state(tensors, description | change)


def test_a_word_for_missing_is_what_the_train_rows_had_it_for():
    """An older checkpoint knows no NA, and has it count as missing."""
    values = ["EU"] * 8 + ["AS"] * 6 + ["NA"]
    new = pd.DataFrame({"land": pd.Series(["NA", None, "EU"], dtype=object)})
    fitted = fit_features(make_table({"land": values}), np.arange(15))
    assert fitted.names == ("land=EU", "land=AS", "land=NA")
    assert fitted.transform(new).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    older = fit_features(make_table({"land": [*values[:-1], None]}), np.arange(15))
    assert older.names == ("land=EU", "land=AS", "land missing")
    assert older.transform(new).tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0]]
