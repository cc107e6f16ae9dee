"""Numbers with 95 % intervals, as they are kept and in words; a bound is None where undefined."""

import math

from trainer.scores.bootstrap import Interval

Bounds = tuple[float | None, float | None]


def bounds(interval: Interval) -> Bounds:
    """Return an interval as it is kept: JSON has no number that is not finite."""
    low, high = (bound if math.isfinite(bound) else None for bound in interval)
    return low, high


def signed(value: float, *, plus: bool = False) -> str:
    """Return a number with three digits and a minus sign proper; `plus` shows that sign too."""
    text = f"{value:+.3f}" if plus else f"{value:.3f}"
    if text in ("-0.000", "+0.000"):
        text = "0.000"
    return text.replace("-", "\N{MINUS SIGN}")


def with_interval(value: float, interval: Bounds, *, plus: bool = False) -> str:
    """Return "0.012 (0.003 to 0.021)", without the bounds where they are not known."""
    low, high = interval
    number = signed(value, plus=plus)
    return number if low is None or high is None else f"{number} ({signed(low)} to {signed(high)})"
