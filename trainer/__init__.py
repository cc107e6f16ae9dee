"""One imbalance-aware training run, or a stack of them at once. Knows nothing of Optuna."""
