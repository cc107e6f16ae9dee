import pytest

from studies.assignments import parse_assignments
from trainer.errors import ConfigError


def test_values_are_toml_and_what_begins_no_value_is_text():
    texts = ["a=3", "b=1e-3", "c = true", 'd=["x", 2]', "e={ low = 1 }", 'f="a b"', "g=focal"]
    expected = {"a": 3, "b": 1e-3, "c": True, "d": ["x", 2], "e": {"low": 1}, "f": "a b"}
    assert parse_assignments(texts) == expected | {"g": "focal"}


@pytest.mark.parametrize(
    "text", ["", "runs/a table.csv", "postgresql://u@h/db?x=1", "a # b", "2024-01-31", "1\nb = 2"]
)
def test_paths_urls_and_dates_need_no_quotes(text):
    assert parse_assignments([f"key={text}"]) == {"key": text}


def test_the_later_setting_wins_and_comes_last():
    assert list(parse_assignments(["a=1", "b=2", "a=3"]).items()) == [("b", 2), ("a", 3)]


@pytest.mark.parametrize("text", ["budget.trials", "=3"])
def test_a_text_without_a_key_and_a_value_is_refused(text):
    with pytest.raises(ConfigError, match="is not KEY=VALUE; write for example --set"):
        parse_assignments([text])


@pytest.mark.parametrize("text", ["a=[bce,focal]", "a={low=}", 'a="x'])
def test_a_broken_list_range_or_text_is_not_taken_for_a_word(text):
    with pytest.raises(ConfigError, match="--set a: the value is not valid TOML"):
        parse_assignments([text])
