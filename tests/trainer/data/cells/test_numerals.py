import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.cells.dialect import THOUSANDS, Dialect, check_dialect
from trainer.data.cells.numerals import is_token, null_texts, remedies, to_numbers
from trainer.errors import ConfigError

PLAIN = Dialect()


def numbers(texts, dialect=PLAIN):
    return to_numbers(pa.array(texts, pa.string()), dialect).to_pylist()


@settings(deadline=None)
@given(
    values=st.lists(st.decimals(-1e9, 1e9, places=3), min_size=1),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from([None, *THOUSANDS]),
)
def test_a_number_written_in_any_dialect_is_read_back(values, decimal, thousands):
    if decimal == thousands:
        return
    groups = f"{{:{'' if thousands is None else ','}.3f}}"
    swap = str.maketrans({",": thousands or "", ".": decimal})
    texts = [groups.format(value).translate(swap) for value in values]
    assert numbers(texts, Dialect(decimal=decimal, thousands=thousands)) == [
        float(value) for value in values
    ]


def test_numbers_are_read_with_signs_exponents_and_blanks_around():
    texts = ["+5", " -1.5 ", "1e3", ".5", "5.", "1E-2", "inf"]
    assert numbers(texts) == [5, -1.5, 1000, 0.5, 5, 0.01, float("inf")]


@pytest.mark.parametrize(
    "text", ["", "1,5", "1,234", "<1", "1 mg", "0x10", "1.2.3", "--", "1_0", "one"]
)
def test_what_is_no_plain_number_is_none(text):
    assert numbers([text]) == [None]


@pytest.mark.parametrize("text", ["1,23", "12,34,567", "1234,567", "1,2345"])
def test_groups_of_other_than_three_digits_are_no_number(text):
    assert numbers([text], Dialect(thousands=",")) == [None]


def test_the_usual_words_stand_for_missing_in_any_case():
    for word in ("?", ".", "-", "--", "NA", "n/a", "None", "UNKNOWN", " Missing ", "NaN"):
        assert is_token(word, PLAIN), word
        assert word.strip() in null_texts(())
    assert not is_token("x", PLAIN)
    assert is_token("x", Dialect(missing=("x",)))
    assert {"x", " x", "?", " ?", ""} <= {*null_texts(("x",))}


@pytest.mark.parametrize(
    ("others", "remedy"),
    [
        (["1,5", "2,25"], "with --decimal ,, leave"),
        (["1,234"], "with --thousands , or --decimal ,, leave"),
        (["1.234,5"], "with --decimal , --thousands ., leave"),
        (["1 234 567"], "with --thousands ' ', leave"),
        (["1'234"], "with --thousands ''\"'\"'', leave"),
        (["<1", "12 mg"], "make them missing with --missing '<1' --missing '12 mg', write numbers"),
        (["a", "b", "c"], "--missing a --missing b and so on, write"),
    ],
)
def test_the_flags_that_settle_a_column_are_named(others, remedy):
    assert remedy in remedies("my x", others, PLAIN)
    assert remedies("my x", others, PLAIN).endswith("--category 'my x'")


@pytest.mark.parametrize(
    ("dialect", "message"),
    [
        (Dialect(separator=";;"), "--separator ';;' is not one character"),
        (Dialect(decimal="x"), "--decimal 'x' is neither"),
        (Dialect(thousands="x"), "--thousands 'x' is none of"),
        (Dialect(decimal=",", thousands=","), "are both ','"),
        (Dialect(decimal=",", separator=","), "are both ','"),
        (Dialect(encoding="utf-99"), "--encoding 'utf-99' is not known"),
        (Dialect(encoding="base64"), "--encoding 'base64' is not known"),
        (Dialect(missing=("",)), "--missing '' has no effect"),
    ],
)
def test_a_dialect_that_no_file_is_written_in_is_refused(dialect, message):
    with pytest.raises(ConfigError) as error:
        check_dialect(dialect)
    assert message in str(error.value)
