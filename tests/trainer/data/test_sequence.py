import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.sequence import find_symbols, sequence_features
from trainer.errors import TableError

STRINGS = st.lists(st.none() | st.text("0123", max_size=12), max_size=8)


def longest_run(text: str, symbol: str) -> int:
    length = 0
    while symbol * (length + 1) in text:
        length += 1
    return length


def describe(text: str | None, symbols: str) -> dict[str, float]:
    """The features of one string, by their definitions."""
    text = text or ""
    pairs = list(pairwise(text))
    changes = sum(a != b for a, b in pairs)
    shares = {a: text.count(a) / max(len(text), 1) for a in symbols}
    features = {
        "length": len(text),
        "changes": changes,
        "change_rate": changes / max(len(pairs), 1),
        "entropy": -sum(p * math.log(p) for p in shares.values() if p),
    }
    end = max(len(text) - 1, 1)
    for a in symbols:
        features[f"share_{a}"] = shares[a]
        features[f"longest_{a}"] = longest_run(text, a)
        features[f"first_{a}"] = text.index(a) / end if a in text else math.nan
        features[f"last_{a}"] = text.rindex(a) / end if a in text else math.nan
        for b in set(symbols) - {a}:
            features[f"step_{a}_{b}"] = pairs.count((a, b)) / max(len(pairs), 1)
    return features


@settings(max_examples=150, deadline=None)
@given(strings=STRINGS, symbols=st.sets(st.sampled_from("0123")).map(sorted).map("".join))
def test_features_are_those_of_the_definitions(strings, symbols):
    values, names = sequence_features(strings, symbols)
    expected = [describe(text, symbols) for text in strings]
    assert values.shape == (len(strings), 4 + 4 * len(symbols) + len(symbols) * (len(symbols) - 1))
    assert len(set(names)) == len(names)
    for row, features in zip(values, expected, strict=True):
        assert set(names) == set(features)
        np.testing.assert_allclose(row, [features[name] for name in names], rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(strings=STRINGS)
def test_a_string_is_described_alike_alone_and_among_others(strings):
    together, _ = sequence_features(strings, "012")
    for row, text in zip(together, strings, strict=True):
        np.testing.assert_array_equal(row, sequence_features([text], "012")[0][0])


@given(strings=STRINGS)
def test_symbols_are_the_digits_that_occur(strings):
    assert find_symbols(strings) == "".join(sorted(set("".join(s or "" for s in strings))))


@pytest.mark.parametrize("wrong", ["x", " ", "-", "é", "٣", "\U0001f600", "\0"])
def test_a_character_that_is_no_digit_is_refused_by_name(wrong):
    with pytest.raises(TableError, match="--sequence") as error:
        find_symbols(["00", None, "", f"1{wrong}2", "y"])
    assert repr(wrong) in str(error.value)
    with pytest.raises(TableError, match="digits only"):
        sequence_features(["0", f"{wrong}"], "0")
