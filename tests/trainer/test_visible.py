import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from trainer.visible import visible


def test_control_characters_are_written_out():
    assert visible("dx\x1b[2J\r\n\t\x9b") == r"dx\x1b[2J\r\n\t\x9b"
    assert visible("a\u202eb\u2066") == r"a\u202eb\u2066"
    assert visible("odd\udcff.csv") == r"odd\udcff.csv"


def test_what_is_to_be_kept_stays():
    assert visible("a\n\x07b", keep="\n") == "a\n\\x07b"


@given(st.text())
def test_what_is_visible_can_be_printed_and_stays_as_it_is(text):
    shown = visible(text)
    shown.encode()
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)
    assert visible(shown) == shown


def test_names_in_any_script_stay_as_they_are():
    for name in ("患者", "schlaganfall_ü", "a\u200db", "na\u00efve \U0001f600"):
        assert visible(name) == name
