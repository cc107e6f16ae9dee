"""What to search: study definitions and the bundled example tables."""
