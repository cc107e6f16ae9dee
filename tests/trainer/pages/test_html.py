"""The kit that all pages are made with."""

import math
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup, escape

from trainer.pages.html import breakable, integer, number, percent, render
from trainer.visible import visible

HOSTILE = "<script>alert('a & b')</script>"


@pytest.fixture
def filled(tmp_path):
    """Return what renders a template's text, in a folder of its own."""

    def fill(template, /, **values):
        path = tmp_path / "some.html"
        path.write_text("{% import 'kit.html' as kit %}" + template, encoding="utf-8")
        return render(path, **values)

    return fill


@given(name=st.text())
def test_a_breakable_name_is_the_escaped_name_once_its_breaks_are_taken_out(name):
    assert breakable(name).replace("<wbr>", "") == escape(visible(name))


def test_numbers_are_rounded_grouped_and_missing_ones_a_dash():
    assert [number(0.12345), number(2, 1), number(None), number(math.nan)] == [
        *("0.123", "2.0", "\N{EN DASH}", "\N{EN DASH}")
    ]
    assert integer(1234567) == "1,234,567"
    assert percent(0.1234) == "12.3\N{NO-BREAK SPACE}%"


def test_text_is_escaped_and_markup_is_not(filled):
    page = filled("{{ text }} {{ markup }}", text=HOSTILE, markup=Markup("<b>x</b>"))
    assert page == f"{escape(HOSTILE)} <b>x</b>"


def test_control_characters_are_written_out_and_lines_stay_lines(filled):
    page = filled("<pre>{{ text }}</pre>{{ text | breakable }}", text="a\x1b[2J\nb_\u202e")
    assert page == r"<pre>a\x1b[2J" + "\n" + r"b_\u202e</pre>a\x1b[2J\nb_<wbr>\u202e"


def test_every_piece_of_the_kit_escapes_what_it_is_given(filled):
    page = filled(
        "{{ kit.table([x], [[x, x]]) }}{{ kit.with_note(x, x) }}{{ kit.to_label(0, x) }}"
        "{{ kit.tile(x, x) }}{% call kit.table([x]) %}<tr><td>{{ x }}</td></tr>{% endcall %}",
        x=HOSTILE,
    )
    assert page.count(str(escape(HOSTILE))) == 10
    assert "<script" not in page


def test_a_table_made_of_rows_is_that_made_of_the_same_markup(filled):
    by_rows = filled("{{ kit.table(['a', 'b'], [['x', 1]]) }}")
    called = filled(
        "{% call kit.table(['a', 'b']) %}<tr><th scope='row'>x</th><td>1</td></tr>{% endcall %}"
    )
    assert "".join(by_rows.split()) == "".join(called.replace("'", '"').split())


def test_an_interval_stands_beside_its_number(filled):
    page = filled("{{ kit.with_interval(0.5, (0.25, 0.75)) }}")
    assert page == "0.500 <small>0.250&ndash;0.750</small>"


@pytest.mark.parametrize("bound", [None, math.nan])
def test_a_number_without_an_interval_stands_alone(filled, bound):
    assert filled("{{ kit.with_interval(0.5, (x, x)) }}", x=bound) == "0.500"


def test_a_figures_source_can_not_end_its_script(filled):
    page = filled("{{ figure | plotly_json }}", figure=go.Figure(layout_title_text="</script>"))
    assert "</" not in page


def test_a_name_that_was_not_handed_over_is_an_error(filled):
    with pytest.raises(UndefinedError, match="absent"):
        filled("{{ absent }}")


def test_a_page_shares_the_frame_and_its_own_style_and_script_stand_as_they_are(tmp_path):
    (tmp_path / "own.js").write_text("if (1 < 2 && true) {}")
    (tmp_path / "page.html").write_text(
        '{% extends "base.html" %}{% block title %}{{ name }}{% endblock %}'
        "{% block body %}<p>{{ name }}</p>{% endblock %}"
        '{% block script %}{{ source("own.js") }}{% endblock %}'
    )
    page = render(tmp_path / "page.html", name="a < b")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>")
    assert "<title>a &lt; b</title>" in page
    assert "if (1 < 2 && true) {}" in page
    assert page.count("plotly.js v") == 1


def test_nothing_is_escaped_by_hand():
    for path in (Path(__file__).parents[3] / "trainer").rglob("*.py"):
        assert not re.search(r"(?<!re\.)\bescape\(", path.read_text(encoding="utf-8")), path
