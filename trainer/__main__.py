"""`python -m trainer`: the trainer's commands without the search.

Flags without a command are those of train, as with the script of the guide:
`python -m trainer --csv_path FILE ...`.
"""

import sys

from trainer.commands.cli import COMMANDS
from trainer.commands.entry import make_app, run_app

if __name__ == "__main__":
    app = make_app(
        "python -m trainer", "Train, evaluate and apply one network for severely imbalanced labels."
    )
    for command in COMMANDS:
        app.command()(command)
    if len(sys.argv) > 1 and sys.argv[1].startswith("-") and sys.argv[1] != "--help":
        sys.argv.insert(1, "train")
    run_app(app)
