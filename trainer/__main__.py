"""`python -m trainer`: the trainer's commands without the search."""

from trainer.commands.cli import COMMANDS, make_app, run_app

if __name__ == "__main__":
    app = make_app("python -m trainer", "One imbalance-aware training run.")
    for command in COMMANDS:
        app.command()(command)
    run_app(app)
