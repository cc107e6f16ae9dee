"""What all pages share: templates that escape what is put into them, and numbers as text.

A page stands alone: styles, figures and plotly.js are within it, nothing is fetched. It is a
template that extends base.html (the frame) and may import kit.html (tables, intervals, tiles).
"""

import math
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trainer.visible import visible
from trainer.wording import threshold

DASH = "\N{EN DASH}"


def render(template: Path, **values: object) -> str:
    """Return a template file filled with values; text is escaped, markupsafe.Markup is not."""
    return environment(template.parent).get_template(template.name).render(values)


@lru_cache
def environment(folder: Path) -> Environment:
    """Return what renders the templates of a folder, which may use base.html and kit.html too.

    Filters: number, integer, percent, threshold and breakable, as functions of these names;
    plotly_json, a figure (or lists of them) as the source of a script. Functions: source(NAME), a
    file as it stands, for <style> and <script>; plotly_js(); version(). A name that was not handed
    over is an error.
    """
    loader = ChoiceLoader([FileSystemLoader(folder), FileSystemLoader(Path(__file__).parent)])
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters |= {
        "number": number,
        "integer": integer,
        "percent": percent,
        "threshold": threshold,
        "breakable": breakable,
        "plotly_json": _plotly_json,
    }
    made.globals |= {
        "version": lambda: version("raretune"),
        "source": lambda name: Markup(loader.get_source(made, name)[0]),
        "plotly_js": _plotly_js,
    }
    return made


def _visible(value: object) -> object:
    """Return what a template shows: text of others without control characters."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(str(value), keep="\n\t") if is_text else value


def _plotly_json(figures: object) -> Markup:
    from plotly.io.json import to_json_plotly

    return Markup(to_json_plotly(figures))


def _plotly_js() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text; a dash if it is missing or nan."""
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}f}"


def integer(value: int) -> str:
    """Return a whole number with a comma at each thousand."""
    return f"{value:,}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as a percentage that stays on one line."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def breakable(name: str) -> Markup:
    """Return a name, escaped, as HTML that may break after an underscore."""
    return Markup("_<wbr>").join(visible(name).split("_"))
