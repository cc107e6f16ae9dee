"""Files of every format as Arrow tables: what is packed, encoded, separated how, and by whom."""
