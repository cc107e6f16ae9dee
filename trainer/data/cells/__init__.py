"""What the text of a cell means: a number, a date, or that a value is missing."""
