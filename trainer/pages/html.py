"""What all pages share: their look, numbers and tables as HTML.

A page stands alone: styles, figures and plotly.js are within it, nothing is fetched.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

DASH = "&ndash;"


def breakable(name: str) -> str:
    """Return a user's name as HTML that may break after an underscore."""
    return escape(name).replace("_", "_<wbr>")


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text; a dash if it is missing or nan."""
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as a percentage, in HTML."""
    return f"{100 * share:.{digits}f}&nbsp;%"


def with_interval(value: float | None, interval: tuple[float | None, float | None]) -> str:
    """Return a number and, small beside it, the bounds of its interval, in HTML."""
    low, high = interval
    return f"{number(value)} <small>{number(low)}{DASH}{number(high)}</small>"


def table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of HTML cells that scrolls by itself; a row's first cell is its heading."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


STYLE = """
:root { --ink: #1c2026; --soft: #5b6470; --rule: #dde1e6; --page: #fff; --raised: #f5f6f8;
  --link: #0b62a3; --warn: #d9730d; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ec; --soft: #a3abb6; --rule: #343a43; --page: #15181c; --raised: #1e2228;
    --link: #6db9f2; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, h3, p { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0; }
p { max-width: 44rem; margin: .5rem 0; }
small, figcaption, .soft { color: var(--soft); font-size: .8rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.note { border-left: 4px solid var(--warn); background: var(--raised); padding: .6rem .9rem; }
dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
dl div { background: var(--raised); border-radius: .5rem; padding: .6rem 1rem; flex: 1 1 9rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
dd small { display: inline-block; white-space: nowrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: right; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
thead th::first-letter { text-transform: uppercase; }
thead th { color: var(--soft); font-weight: 600; font-size: .8rem; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page);
  min-width: 6rem; max-width: 14rem; overflow-wrap: break-word; }
td { white-space: nowrap; }
td small { display: block; }
.plots { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
figure { margin: 0; min-width: 0; }
.xtick text, .ytick text, .g-xtitle text, .g-ytitle text { fill: var(--soft) !important; }
@media screen and (max-width: 40rem) {
  body { padding: 1.25rem .9rem 3rem; }
  table { font-size: .8rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: .8rem; }
  table, thead th, td small { font-size: .62rem; }
  th, td { padding: .25rem .3rem; }
  .plots { zoom: .6; }
  h3, figcaption { font-size: 1.15rem; }
  section { break-inside: avoid; }
  a { color: inherit; }
}
"""
