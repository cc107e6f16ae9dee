"""What was read of a table, in words, and what of it looks like a leak."""
