"""What Optuna keeps, and the only room that knows how it keeps it."""
