"""`python -m trainer`: the trainer's commands without the search."""

from trainer.commands.cli import COMMANDS, make_app, run_app

if __name__ == "__main__":
    app = make_app(
        "python -m trainer", "Train, evaluate and apply one network for severely imbalanced labels."
    )
    for command in COMMANDS:
        app.command()(command)
    run_app(app)
