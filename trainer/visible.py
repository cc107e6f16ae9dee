"""Text of others, as names of labels, columns and files, made fit to be shown.

A terminal obeys control characters, and marks of direction turn a line around: both are written out
instead, as Python does in a string.
"""

import re

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, ESC among them
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # marks of direction, separators of lines
    "\ud800-\udfff]"  # bytes of a file name that are no UTF-8
)


def visible(text: str, keep: str = "") -> str:
    r"""Return text whose control characters, but for those to keep, are written as \x1b or \n."""
    return HIDDEN.sub(lambda match: _written_out(match[0], keep), text)


def _written_out(character: str, keep: str) -> str:
    return character if character in keep else character.encode("unicode_escape").decode()
