import io
import math
import re
import sys

import pytest
import torch
from rich.console import Console

from trainer.commands.monitor import MOST_LABELS, epoch_view
from trainer.config import TrainConfig
from trainer.loop.fit import EpochReport, fit
from trainer.loop.validation import Validation

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(width=80, height=24, **values):
    environment = {"TERM": "xterm-256color", **values}
    return Console(file=Terminal(), width=width, height=height, _environ=environment)


def config(**values):
    return TrainConfig.create(**{"batch_size": 32, "hidden_dim": 32, "lr": 3e-3, **values})


def report(epoch, n_labels=3, *, f1=None, **scores):
    names = ("loss", "macro_f1", "macro_recall", "roc_auc")
    macro = {**dict.fromkeys(names, 0.5), **scores}
    drawn = torch.rand(1, n_labels, generator=torch.Generator().manual_seed(epoch))
    values = drawn if f1 is None else torch.tensor([f1])
    nothing = torch.empty(0)
    validation = Validation({}, values, values / 2, nothing, nothing)
    return EpochReport((0,), (epoch,), {k: (v,) for k, v in macro.items()}, (0.3,), validation)


def lines_of(console):
    """The lines of what a pipe got, but for the legend at their head."""
    return console.file.getvalue().splitlines()[1:]


@pytest.mark.parametrize(
    "values",
    [
        {"early_stop_metric": "macro_f1"},
        {"early_stop_metric": "loss", "min_delta": 0.003},
        {"early_stop_metric": "average_precision"},
        {"early_stop_metric": "roc_auc", "lr": 1.0},
    ],
)
def test_the_last_star_is_at_the_epoch_that_fit_keeps(data, values):
    console, chosen = Console(file=io.StringIO()), config(epochs=8, **values)
    with epoch_view(console, chosen, data.labels) as show:

        def on_epoch(report):
            show(report)
            return [True]

        result = fit(data, [chosen], on_epoch)[0]
    lines = lines_of(console)
    assert len(lines) == len(result.history)
    starred = [number for number, line in enumerate(lines, start=1) if "/8*" in line]
    assert starred[-1] == result.best_epoch
    for line, row in zip(lines, result.history, strict=True):
        assert f"epoch {row['epoch']}/8" in line
        assert f"macro-F1 {row['macro_f1']:.4f} recall {row['macro_recall']:.4f}" in line
        for label in data.labels:
            share = row[f"predicted_share_{label}"]
            assert f"  {label} {row[f'f1_{label}']:.3f} ({share:.1%})" in line


def test_a_resumed_run_remembers_its_best_epoch(data):
    chosen, console = config(epochs=3), Console(file=io.StringIO())
    history = fit(data, [chosen])[0].history
    history[0] = {**history[0], "macro_f1": 0.9}
    with epoch_view(console, chosen, data.labels, history[:2]) as show:
        show(report(3, macro_f1=0.6))
        show(report(4, macro_f1=0.95))
    third, fourth = lines_of(console)
    assert third.startswith("epoch 3/3 ")
    assert fourth.startswith("epoch 4/3*")


@pytest.mark.parametrize("variable", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {}])
def test_a_pipe_gets_a_plain_line_an_epoch_whatever_the_environment_says(variable):
    console = Console(file=io.StringIO(), width=40, _environ=variable)
    with epoch_view(console, config(epochs=100), ["a", "b", "c"]) as show:
        for epoch in (1, 2, 3):
            show(report(epoch))
    assert len(lines_of(console)) == 3
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize("variable", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_can_not_redraw_gets_lines(variable):
    console = terminal(**variable)
    with epoch_view(console, config(epochs=2), ["a", "b", "c"]) as show:
        show(report(1))
        show(report(2))
    assert len(lines_of(console)) == 2
    assert "\x1b" not in console.file.getvalue()


def test_of_many_labels_a_line_has_the_lowest_only():
    names = [f"label_{i}" for i in range(MOST_LABELS + 1)]
    f1 = [0.5, 0.4, 0.1] + [0.6] * (MOST_LABELS - 2)
    console = Console(file=io.StringIO())
    with epoch_view(console, config(), names) as show:
        show(report(1, f1=f1))
    (line,) = lines_of(console)
    assert line.endswith("  lowest label_2 0.100 (5.0%)")
    assert line.count("label_") == 1
    assert len(line) < 150


def test_undefined_scores_and_huge_losses_are_shown_as_they_are():
    console = Console(file=io.StringIO())
    with epoch_view(console, config(), ["a", "b", "c"]) as show:
        show(report(1, roc_auc=math.nan, loss=math.inf))
        show(report(2, loss=123456.7))
    first, second = lines_of(console)
    assert "validation inf" in first
    assert "ROC AUC nan" in first
    assert "/100*" not in first
    assert "validation 1.235e+05" in second


def test_a_label_name_neither_breaks_the_line_nor_commands_the_terminal():
    console = Console(file=io.StringIO())
    with epoch_view(console, config(), ["[red]a\n\x1b[2Jb"]) as show:
        show(report(1, f1=[0.5]))
    (line,) = lines_of(console)
    assert "[red]a??[2Jb 0.500" in line


@pytest.mark.parametrize("n_labels", [1, 12, 60])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 50), (40, 16), (200, 20)])
def test_the_live_view_fits_into_the_terminal_and_has_the_lowest_labels(width, height, n_labels):
    console = terminal(width, height)
    names = [f"a_label_with_a_long_name_{i}" for i in range(n_labels)]
    with epoch_view(console, config(epochs=20), names) as view:
        view(report(1, n_labels, macro_f1=0.9))
        for epoch in range(2, 11):
            view(report(epoch, n_labels))
        lines = console.render_lines(view.render())
        f1 = {name: score for name, score, _ in view.of_labels}
    text = "\n".join("".join(part.text for part in line).rstrip() for line in lines)
    assert len(lines) < height
    assert max(map(len, text.splitlines())) <= width
    assert re.findall(r"^ +\*?(\d+)  ", text, re.MULTILINE)[:6] == ["1", "6", "7", "8", "9", "10"]
    assert re.search(r"^ +\*1 ", text, re.MULTILINE)
    if width >= 80:
        assert "best 1*" in text
        shown = [name for name in names if re.search(rf"  {name}$", text, re.MULTILINE)]
        assert shown
        assert set(shown) == set(sorted(names, key=f1.__getitem__)[: len(shown)])
        assert (f"{n_labels - len(shown)} labels with higher" in text) == (n_labels > len(shown))


def test_without_colours_the_star_still_marks_the_best_epoch():
    console = terminal(NO_COLOR="1")
    with epoch_view(console, config(), ["a", "b", "c"]) as show:
        show(report(1))
    written = console.file.getvalue()
    assert "*1" in written
    assert not re.search(r"\x1b\[[\d;]*[34]\d", written)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_passes_through_and_leaves_the_terminal_in_order(error):
    console = terminal()
    before = sys.stdout, sys.stderr

    def interrupted():
        with epoch_view(console, config(), ["a", "b", "c"]) as show:
            show(report(1))
            raise error

    with pytest.raises(error):
        interrupted()
    assert (sys.stdout, sys.stderr) == before
    written = console.file.getvalue()
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)


def test_what_others_print_meanwhile_still_goes_to_stdout(capsys):
    console = terminal()
    with epoch_view(console, config(), ["a", "b", "c"]) as show:
        show(report(1))
        print("result")
    assert capsys.readouterr().out == "result\n"
    assert "result" not in console.file.getvalue()
