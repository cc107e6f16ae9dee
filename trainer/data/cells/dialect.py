"""How a file writes what it holds: what a reader can't know from the file is said here."""

import codecs
from dataclasses import dataclass
from typing import Literal

from trainer.errors import ConfigError

THOUSANDS = (",", ".", "'", "\u2019", "_", " ", "\u00a0", "\u202f")


@dataclass(frozen=True)
class Dialect:
    """How cells are written; what is None is found from the file.

    separator  character between the cells of a text file
    encoding   of a text file, as Python names it
    sheet      of a workbook, by name; the first by default
    decimal    between a number's whole and its fraction
    thousands  between groups of three digits
    missing    texts and numbers that stand for a missing value in any feature but a sequence,
               beside the usual ones among numbers
    """

    separator: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    decimal: Literal[".", ","] = "."
    thousands: str | None = None
    missing: tuple[str, ...] = ()


def check_dialect(dialect: Dialect) -> None:
    """Raise ConfigError, in the words of the command line, if no file is written so."""
    separator, decimal, thousands = dialect.separator, dialect.decimal, dialect.thousands
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise ConfigError(
            f"--separator {separator!r} is not one character; give one such as ';', or leave it "
            "away to have it found from the file"
        )
    if decimal not in (".", ","):
        raise ConfigError(f"--decimal {decimal!r} is neither '.' nor ','; give one of them")
    if thousands is not None and thousands not in THOUSANDS:
        raise ConfigError(f"--thousands {thousands!r} is none of , . ' _ or a space; give one")
    if decimal == thousands:
        raise ConfigError(f"--decimal and --thousands are both {decimal!r}; give different ones")
    if separator == decimal:
        raise ConfigError(f"--separator and --decimal are both {decimal!r}; give different ones")
    if dialect.encoding is not None:
        _check_encoding(dialect.encoding)
    if "" in dialect.missing:
        raise ConfigError("--missing '' has no effect: an empty cell is missing anyway; drop it")


def _check_encoding(encoding: str) -> None:
    try:
        is_text = codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        raise ConfigError(
            f"--encoding {encoding!r} is not known; give one such as utf-8, utf-16 or cp1252"
        )
