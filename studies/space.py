"""What a searched parameter may be: a list of choices or a range of numbers."""

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    model_validator,
)


class Strict(BaseModel):
    """A part of a definition: frozen, and without keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError("must be a number, a text, true or false")


Scalar = Annotated[bool | int | float | str, PlainValidator(_plain)]


class Range(Strict):
    """Numbers from low to high, both included; log-uniform with `log`, on a grid with `step`."""

    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range must start above 0, got low = {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; keep one of them")
        if self.step is not None and not math.isclose(self._steps, round(self._steps)):
            raise ValueError(f"high must be low and a number of steps, got step = {self.step:g}")
        return self

    @property
    def _steps(self) -> float:
        return (self.high - self.low) / (self.step or 1)


def _kind(value: object) -> str | None:
    if isinstance(value, Mapping | Range):
        return "range"
    return "list" if isinstance(value, list | tuple) else None


Choices = Annotated[list[Scalar], Field(min_length=1)]
Values = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("list")],
    Discriminator(
        _kind,
        custom_error_type="space",
        custom_error_message="must be a list of choices or a range { low = .., high = .. }; "
        "a single value is held fixed under [training]",
    ),
]
