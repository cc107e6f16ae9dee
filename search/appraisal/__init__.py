"""What a search's finds are worth: its best score corrected for the choice, and what beats it."""
