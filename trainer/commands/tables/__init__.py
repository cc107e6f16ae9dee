"""What the commands ask and say of a table: how it is written, what was read."""
