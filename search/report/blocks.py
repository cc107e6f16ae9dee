"""The pieces of a report: a section, a figure with its data, a list, a tile."""

from collections.abc import Iterable
from html import escape

from plotly.io.json import to_json_plotly

from search.figures.captioned import CaptionedFigure

HEIGHT = 450  # plotly's own, in pixels


def section(key: str, title: str, *parts: str) -> str:
    """Return a section with a heading to jump to; its title and parts are HTML."""
    body = "\n".join(filter(None, parts))
    return f'<section id="{key}" aria-labelledby="{key}-title">\n' + (
        f'<h2 id="{key}-title">{title}</h2>\n{body}\n</section>'
    )


def figure(key: str, captioned: CaptionedFigure | None, level: int = 3) -> str:
    """Return a figure under a heading, its data beside it to be drawn from; nothing for None."""
    if captioned is None:
        return ""
    title, height = escape(captioned.title), captioned.figure.layout.height or HEIGHT
    return (
        f"<figure><h{level}>{title}</h{level}>"
        f'<div class="plot" id="plot-{key}" role="img" aria-label="{title}" '
        f'style="min-height: {height}px"></div>'
        f'<script type="application/json">{to_json_plotly(captioned.figure)}</script>'
        f"<figcaption>{escape(captioned.caption)}</figcaption></figure>"
    )


def bullets(sentences: Iterable[str], style: str = "") -> str:
    """Return plain sentences as a list, nothing if there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{style}">{items}</ul>' if items else ""


def tile(name: str, value: str) -> str:
    """Return a figure of a definition list: its name and its value in HTML."""
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"
