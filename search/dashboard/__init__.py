"""optuna-dashboard over a workspace, with notes."""
