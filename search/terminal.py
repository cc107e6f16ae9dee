"""What a search shows: progress on stderr while it runs, its result as tables on stdout."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from search.progress import Progress
from search.records import ChoiceRecord, TrialRecord, complete, remedies
from search.session import Outcome
from trainer.terminal import label_grid, score_sentence, shrunk_sentence

PLAIN_SECONDS = 10.0  # between progress lines where stderr is no terminal
BEST_TRIALS = 5


class ProgressView:
    """Shows a Progress: live on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.started = self.last_line = time.monotonic()
        self.live: Live | None = None

    def __call__(self, progress: Progress) -> None:
        """Show how far the search is."""
        if self.live is not None:
            self.live.update(self.render(progress))
        elif time.monotonic() - self.last_line >= PLAIN_SECONDS:
            self.last_line = time.monotonic()
            self.console.print(self.summary(progress), soft_wrap=True)

    def summary(self, progress: Progress) -> Text:
        """Return the line that says how far the search is."""
        seconds = time.monotonic() - self.started
        best = "none yet"
        if progress.best_number is not None:
            best = f"{progress.best_value:.4f} (trial {progress.best_number})"
        return Text(
            f"{self.name}: {progress.done}/{progress.total} trials "
            f"({progress.complete} complete, {progress.pruned} pruned, {progress.failed} failed), "
            f"best {best}, {progress.model_epochs / max(seconds, 1e-9):.1f} model-epochs/s, "
            f"{seconds:.0f} s"
        )

    def render(self, progress: Progress) -> Grid:
        """Return the live view: the summary above the running members."""
        view = Grid.grid(padding=(0, 2))
        view.add_row(self.summary(progress))
        members = Grid.grid(padding=(0, 2))
        for number, (epoch, value) in sorted(progress.running.items()):
            members.add_row(f"  trial {number}", f"epoch {epoch}", f"{value:.4f}")
        view.add_row(members)
        return view


@contextmanager
def progress_view(console: Console, name: str) -> Iterator[ProgressView]:
    """Hand out a ProgressView that leaves the terminal as it found it."""
    view = ProgressView(console, name)
    if not (console.is_interactive and console.file.isatty()):
        yield view
        return
    with Live(console=console, transient=True, redirect_stdout=False) as live:
        view.live = live
        yield view


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Print best trials, remedies, scores per label, and what to do next."""
    if outcome.checkpoint is None:
        console.print("No trial has ended complete yet; run the same command again to go on.")
        return
    console.print(_trials(outcome.records))
    console.print(_remedies(remedies(outcome.records)))
    record = outcome.checkpoint.record
    if record.test is None:
        console.print(label_grid("Validation rows (cross-fitted)", record.validation))
    else:
        console.print(label_grid("Test rows (looked at once, for the best trial)", record.test))
    console.print(_verdict(outcome), soft_wrap=True)


def _trials(records: Sequence[TrialRecord]) -> Grid:
    grid = Grid(title="Best trials by validated macro-F1 (cross-fitted)", title_justify="left")
    for heading in (
        "trial",
        "score",
        "loss",
        "sampling",
        "class weights",
        "lr",
        "batch",
        "network",
    ):
        grid.add_column(heading, justify="right" if heading in ("trial", "score", "lr") else "left")
    ranked = complete(records)
    shown = ranked[:BEST_TRIALS]
    shown += [r for r in ranked[BEST_TRIALS:] if r.recipe]
    for record in shown:
        config = record.config
        recipe = f" ({record.recipe})" if record.recipe else ""
        grid.add_row(
            str(record.number),
            f"{record.value:.4f}",
            _loss(config) + recipe,
            str(config["weight_method"]),
            _class_weights(config),
            f"{config['lr']:.2g}",
            str(config["batch_size"]),
            f"{config['num_layers']} x {config['hidden_dim']}"
            if config["num_layers"]
            else "linear",
        )
    return grid


def _loss(config: dict[str, Any]) -> str:
    name = str(config["loss_type"])
    return f"{name} {config['focal_gamma']:.1f}" if name == "focal" else name


def _class_weights(config: dict[str, Any]) -> str:
    if config["loss_type"] == "bce":
        return "-"
    return f"{config['class_weight_method']} x {config['class_weight_multiplier']:.2g}"


def _remedies(rows: Sequence[ChoiceRecord]) -> Grid:
    grid = Grid(title="Which remedies won", title_justify="left")
    grid.add_column("setting")
    grid.add_column("choice")
    for heading in ("trials", "best", "median"):
        grid.add_column(heading, justify="right")
    shown = ""
    for row in rows:
        name = row.parameter if row.parameter != shown else ""
        shown = row.parameter
        grid.add_row(name, row.choice, str(row.trials), f"{row.best:.4f}", f"{row.median:.4f}")
    return grid


def _verdict(outcome: Outcome) -> Text:
    if outcome.checkpoint is None or outcome.best is None:
        raise ValueError("an outcome without a best trial has no verdict")
    best, record, folder = outcome.best, outcome.checkpoint.record, outcome.session.best_folder
    lines = []
    validated = record.validation["macro_f1"]
    if record.test is not None:
        macro = record.test["intervals"]["macro"]["f1"]
        lines.append(
            f"{score_sentence('Test', record.test['macro_f1'], macro)}; validated {validated:.4f}, "
            f"the best of {len(outcome.records)} trials: such a maximum flatters, test does not."
        )
    else:
        lines.append(f"Validated macro-F1 {validated:.4f}; no rows were held out for test.")
    if sentence := shrunk_sentence(record.validation["shrunk_thresholds"]):
        lines.append(sentence)
    lines += [
        f"Best is trial {best.number}; its checkpoint is {folder}",
        "",
        "Next:",
        f"  raretune predict {folder} --csv NEW.csv --output predictions.csv",
    ]
    if outcome.stopped_early:
        lines.append("  the same command again goes on with the study")
    else:
        lines.append("  the same command with a larger --trials goes on with the study")
    return Text("\n".join(lines))
