"""How to search: an Optuna study over stacks of training runs, and the `raretune` command."""
