"""The report in a real browser; see tests/browser.py."""

import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from study_case import HOSTILE, make_evidence, make_study

from search.figures.labels import chosen_cut
from search.report.page import write_report

FILLED = (
    "plot => plot.querySelector('.main-svg path, .main-svg .point, canvas') !== null"
    " && plot.getBoundingClientRect().height > 50"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, make_study(), make_evidence(), Path("runs/clinic/best"))
    return path.as_uri()


def to_the_end(page):
    """Scroll through the page as a reader does, until every figure is drawn."""
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        page.wait_for_function("plot => plot.dataset.drawn", arg=plot.element_handle())


def draw_all(page):
    """Draw every figure at once, as before print."""
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")


def test_all_figures_are_drawn_without_an_error_or_a_request(open_page, address):
    seen = open_page(address)
    assert seen.page.locator(".plot[data-drawn]").count() < seen.page.locator(".plot").count()
    to_the_end(seen.page)
    assert seen.page.locator(".plot").count() > 12
    assert all(plot.evaluate(FILLED) for plot in seen.page.locator(".plot").all())
    assert seen.errors == []
    assert seen.requests == [address]


def test_all_figures_are_drawn_before_print(open_page, address):
    page = open_page(address).page
    draw_all(page)
    assert page.locator(".plot:not([data-drawn])").count() == 0


def rounded(value, digits=3):
    """As toFixed does: of two equally near texts the upper one."""
    step = Decimal(1).scaleb(-digits)
    return str(Decimal(float(value)).quantize(step, rounding=ROUND_HALF_UP))


def threshold(value):
    return rounded(value) if value >= 0.1 else f"{value:.2g}"


def numbers(label, place):
    """What the page must show of a label's cut."""
    found, alarms = label.true_positives[place], label.false_positives[place]
    predicted = found + alarms
    return {
        "threshold": threshold(label.cuts_in_use[place]),
        "precision": rounded(found / predicted if predicted else 0),
        "recall": rounded(found / label.positives),
        "f1": rounded(2 * found / (predicted + label.positives)),
        "predicted": f"{rounded(100 * predicted / label.rows, 1)} %",
        "actual": f"{rounded(100 * label.positives / label.rows, 1)} %",
        "tp": f"{found:,}",
        "fp": f"{alarms:,}",
        "fn": f"{label.positives - found:,}",
        "tn": f"{label.rows - label.positives - alarms:,}",
    }


def shown(box):
    fields = box.locator("[data-field]").all()
    return {field.get_attribute("data-field"): field.inner_text() for field in fields}


def test_the_slider_moves_the_cut_by_keyboard_and_mouse_and_back(open_page, address):
    seen = open_page(address)
    label = make_evidence().labels[0]
    box = seen.page.locator(".cut").first
    slider, back = box.locator("input"), box.locator("button")
    chosen, last = chosen_cut(label), len(label.cuts) - 1
    assert shown(box) == numbers(label, chosen)
    assert back.is_disabled()
    slider.press("ArrowRight")
    assert shown(box) == numbers(label, chosen - 1)
    assert slider.get_attribute("aria-valuetext").startswith(
        f"threshold {threshold(label.cuts_in_use[chosen - 1])}"
    )
    for place in (0, last, last // 3):
        slider.fill(str(last - place))
        assert shown(box) == numbers(label, place)
        recall, precision = seen.page.evaluate(
            "const mark = document.getElementById('plot-curve-0').data.at(-1);"
            "[mark.x[0], mark.y[0]]"
        )
        assert rounded(recall) == numbers(label, place)["recall"]
        assert rounded(precision) == numbers(label, place)["precision"]
    middle = slider.bounding_box()
    seen.page.mouse.click(middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2)
    assert shown(box) != numbers(label, last // 3)
    back.click()
    assert shown(box) == numbers(label, chosen)
    assert seen.errors == []


def test_a_hostile_name_is_only_text(open_page, address):
    page = open_page(address).page
    assert page.locator("b").count() == 0
    assert page.locator("#label-0-title").inner_text().startswith(HOSTILE)
    draw_all(page)
    assert HOSTILE[:9] in page.locator("#plot-columns-0").inner_text()


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_only_tables_and_wide_figures_scroll_sideways(open_page, address, width):
    page = open_page(address, width=width).page
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.evaluate(
        "[...document.querySelectorAll('main *:not(.wide *, .plot *, pre *)')].filter("
        "e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"
    )
    assert wide == []


@pytest.mark.parametrize("dark", [False, True])
def test_ground_and_text_stand_apart_in_either_scheme(open_page, address, dark):
    page = open_page(address, dark=dark).page
    draw_all(page)
    ground = lightness(page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor"))
    assert (ground < 0.2) is dark
    inks = page.locator(".plot text").evaluate_all("all => all.map(e => getComputedStyle(e).fill)")
    assert len(inks) > 100
    assert all(abs(lightness(ink) - ground) > 0.35 for ink in inks)


def lightness(color):
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3 / 255
