import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.toml import toml_text

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalar = text | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.booleans()
values = scalar | st.lists(scalar, max_size=30)
inline = st.dictionaries(text, values, max_size=3)


@given(st.dictionaries(text, values | st.dictionaries(text, values | inline, max_size=4)))
def test_what_is_written_is_read_back(content):
    assert tomllib.loads(toml_text(content)) == content


def test_a_comment_stands_behind_its_key_or_table():
    content = {"a": 1, "b": {"c": "x"}}
    text = toml_text(content, {"a": "# one", "b": "# two", "b.c": "# three"})
    assert text == 'a = 1  # one\n\n[b]  # two\nc = "x"  # three\n'


def test_what_toml_does_not_know_is_refused():
    with pytest.raises(TypeError, match="None"):
        toml_text({"a": None})
