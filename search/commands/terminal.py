"""What a search shows: progress on stderr while it runs, its result as tables on stdout."""

import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from search.appraisal.baselines import better_sentence
from search.appraisal.corrected import validated_sentence
from search.appraisal.ensemble import recommendation
from search.commands.appraise import baselines_grid, ensemble_grid, members
from search.commands.pace import Pace, about
from search.dashboard.notes import location_options
from search.run import Outcome
from search.space.objective import in_words
from search.store.records import ChoiceSummary, TrialRecord, complete, summarise_choices
from search.waves.progress import Progress
from trainer.commands.terminal import (
    calibration_sentence,
    can_animate,
    cell,
    label_grid,
    packed,
    score_sentence,
    shrunk_sentence,
)
from trainer.wording import class_weights, doubt_sentences, loss, network, remedy

PLAIN_SECONDS = 10.0  # between progress lines where stderr is no terminal
BEST_TRIALS = 5


class ProgressView:
    """Shows a Progress: live on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.last_line = time.monotonic()
        self.pace = Pace(self.last_line)
        self.progress: Progress | None = None
        self.live = False
        self.step = ""

    def __call__(self, progress: Progress) -> None:
        """Show how far the search is; what is shown live appears with the next refresh."""
        now = time.monotonic()
        self.pace.look(now, progress)
        self.progress = progress.frozen()
        if not self.live and now - self.last_line >= PLAIN_SECONDS:
            self.last_line = now
            self.print_line()

    def at(self, step: str) -> None:
        """Show what is done after the search itself, in words."""
        self.step = step
        now = time.monotonic()
        if not self.live and now - self.last_line >= PLAIN_SECONDS:
            self.last_line = now
            self.console.print(Text(f"{self.name}: {step}"), soft_wrap=True)

    def print_line(self) -> None:
        """Print on one line how far the search is, if it has begun."""
        if self.progress is not None:
            line = f"{self.name}: {', '.join(self._head(self.progress))}"
            self.console.print(Text(line), soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the live view, made to fit into the terminal as large as it is now."""
        if self.progress is None:
            return Text(f"{self.name}: reading the study")
        progress, width = self.progress, self.console.width
        head = packed(self._head(progress), width)
        bar = Grid.grid(padding=(0, 2))
        share = progress.done / max(progress.total, 1)
        bar.add_row(
            ProgressBar(progress.total, progress.done, width=min(40, max(4, width - 8))),
            cell(f"{min(share, 1):.0%}"),
        )
        if self.step:
            return Group(*map(cell, head), bar, cell(self.step))
        room = self.console.height - len(head) - 4  # the bar, headings, a rest, the cursor's line
        return Group(*map(cell, head), bar, *_members(progress, max(0, room)))

    def _head(self, progress: Progress) -> list[str]:
        """Return how far the search is, in pieces that stay whole."""
        now = time.monotonic()
        best = "no best yet"
        if progress.best_number is not None:
            tried = f"trial {progress.best_number}"
            if progress.best_config:
                tried += f", {remedy(progress.best_config)}"
            best = f"best {progress.best_value:.4f} ({tried})"
        pieces = [
            best,
            f"{progress.done}/{progress.total} trials",
            f"{progress.complete} complete",
            f"{progress.pruned} pruned",
            f"{progress.failed} failed",
            f"{self.pace.speed(now):.1f} model-epochs/s",
            f"{timedelta(seconds=int(now - self.pace.started))} elapsed",
        ]
        left = self.pace.left(now)
        if progress.running and math.isfinite(left):
            pieces.append(f"about {about(left)} left" if left else "ending")
        return pieces


def _members(progress: Progress, room: int) -> Iterator[RenderableType]:
    """Yield a table of at most `room` running trials, and how many more there are."""
    if not progress.running or not room:
        return
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("trial", "epoch", "score", "best"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("remedy")  # as the one that may wrap, it gives way on a narrow terminal
    for number, (epoch, value) in sorted(progress.running.items())[:room]:
        config = progress.configs.get(number, {})
        epochs = f"{epoch}/{config['epochs']}" if config else str(epoch)
        scores = (_score(value), _score(progress.peaks.get(number, math.nan)))
        grid.add_row(*map(cell, (str(number), epochs, *scores, remedy(config) if config else "")))
    yield grid
    if len(progress.running) > room:
        yield cell(f"... and {len(progress.running) - room} more")


def _score(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


@contextmanager
def progress_view(console: Console, name: str) -> Iterator[ProgressView]:
    """Hand out a ProgressView that leaves the terminal in order, and one last line."""
    view = ProgressView(console, name)
    if not can_animate(console):
        yield view
    else:
        view.live = True
        with Live(
            console=console,
            get_renderable=view.render,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
        ):
            yield view
    view.print_line()


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Print best trials, remedies, scores per label, and what to do next."""
    if outcome.checkpoint is None:
        console.print("No trial has ended complete yet; run the same command again to go on.")
        return
    if better := better_sentence(outcome.comparison):
        console.print(Text(better), soft_wrap=True)
    console.print(_trials(outcome.records, outcome.session.definition.objective))
    console.print(_remedies(summarise_choices(outcome.records)))
    record = outcome.checkpoint.record
    if record.test is None:
        console.print(
            label_grid(
                "Validation rows (cross-fitted)",
                record.as_handed_out(record.validation),
                record.doubts,
            )
        )
    else:
        console.print(
            label_grid(
                "Test rows of the best trial (nothing was chosen on them)",
                record.as_handed_out(record.test),
                record.doubts,
            )
        )
    if outcome.assembled is not None:
        console.print(ensemble_grid(outcome.assembled.ensemble))
    if outcome.comparison is not None:
        console.print(baselines_grid(outcome.comparison))
        for name, reason in outcome.comparison.failed.items():
            console.print(Text(f"{name} failed: {reason}"), soft_wrap=True)
    console.print(_verdict(outcome), soft_wrap=True)


def _trials(records: Sequence[TrialRecord], objective: str) -> Grid:
    fitted = "" if objective == "average_precision" else " (cross-fitted)"  # it needs no thresholds
    title = Text(f"Best trials by validated {in_words(objective)}{fitted}")
    grid = Grid(title=title, title_justify="left")
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
            loss(config) + recipe,
            str(config["weight_method"]),
            class_weights(config) or "-",
            f"{config['lr']:.2g}",
            str(config["batch_size"]),
            network(config),
        )
    return grid


def _remedies(rows: Sequence[ChoiceSummary]) -> Grid:
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


def _certified(outcome: Outcome) -> list[str]:
    """Return what each remedy is worth, in words, or why that is left out."""
    certificate, left_out = outcome.certified
    if certificate is not None:
        return [certificate.verdict]
    if not left_out:
        return []
    session = outcome.session
    where = location_options(session.workspace.folder, session.url)
    return [
        f"What each remedy is worth was left out: {left_out}. "
        f"raretune certify {shlex.quote(session.definition.name)}{where} says it."
    ]


def _verdict(outcome: Outcome) -> Text:
    if outcome.checkpoint is None or outcome.best is None:
        raise ValueError("an outcome without a best trial has no verdict")
    best, record, folder = outcome.best, outcome.checkpoint.record, outcome.session.best_folder
    lines, objective = _certified(outcome), in_words(outcome.session.definition.objective)
    if record.test is not None:
        macro = record.test["intervals"]["macro"]["f1"]
        lines.append(f"{score_sentence('Test', record.test['macro_f1'], macro)}.")
        lines += filter(None, [calibration_sentence(record.test, "test")])
    else:
        lines.append("There is no test score, for no rows were held out for test.")
    trials = len(outcome.records)
    uncorrected = record.validation["macro_f1"]
    lines.append(validated_sentence(uncorrected, outcome.corrected, trials, objective))
    lines += doubt_sentences(record.doubts)
    if sentence := shrunk_sentence(record.validation["shrunk_thresholds"]):
        lines.append(sentence)
    lines.append(f"Best is trial {best.number}; its checkpoint is {folder}")
    if outcome.assembled is not None:
        ensemble, other = outcome.assembled.ensemble, outcome.session.ensemble_folder
        lines += [members(ensemble), recommendation(ensemble, folder, other)]
        folder = other if ensemble.is_recommended else folder
    lines += [
        "",
        "Next:",
        f"  raretune predict {shlex.quote(str(folder))} --csv NEW.csv --output predictions.csv",
    ]
    if outcome.unfinished:
        lines.append("  run the same command again to go on with the study")
    else:
        lines.append("  run the same command with a larger --trials to go on with the study")
    return Text("\n".join(lines))
