"""The live view of a search: drawn at every size, and on real pseudo-terminals."""

import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from rich.console import Console

from search.commands.terminal import PLAIN_SECONDS, ProgressView, progress_view
from search.waves.progress import Progress

RARETUNE = Path(sys.executable).with_name("raretune")
CLAIM = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""  # makes the pseudo-terminal the one that sends Ctrl-C and changes of size
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
REDRAW = "\r\x1b[2K"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"

BCE = {
    "loss_type": "bce",
    "weight_method": "none",
    "class_weight_method": "inverse",
    "class_weight_multiplier": 2.0,
    "focal_gamma": 2.0,
    "epochs": 100,
}
FOCAL = BCE | {"loss_type": "focal", "weight_method": "per_class"}


def running(members, **counts):
    """A search with so many members, the odd ones plain, in their fifth epoch."""
    numbers = range(50, 50 + members)
    return Progress(
        100,
        running=dict.fromkeys(numbers, (5, 0.125)),
        peaks=dict.fromkeys(numbers, 0.25),
        configs={number: BCE if number % 2 else FOCAL for number in numbers},
        **counts,
    )


def drawn(progress, *, width=80, height=24):
    """The lines of the live view."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    view = ProgressView(console, "clinic")
    view(progress)
    console.print(view.render())
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_head_bar_and_a_row_a_member_stand_at_every_width(width):
    counts = {"complete": 30, "pruned": 10, "failed": 2, "best_number": 7, "best_value": 0.2056}
    lines = drawn(running(3, **counts, best_config=FOCAL), width=width)
    text = "\n".join(lines)
    assert all(len(line) <= width for line in lines)
    for piece in ("best 0.2056 (trial 7, focal 2.0", "42/100 trials", "30 complete", "10 pruned"):
        assert piece in text
    for piece in ("2 failed", "model-epochs/s", "elapsed", "42%", "trial  epoch"):
        assert piece in text
    rows = [line.split() for line in lines if "5/100" in line]
    assert [row[:5] for row in rows] == [
        [number, "5/100", "0.1250", "0.2500", loss]
        for number, loss in (("50", "focal"), ("51", "bce"), ("52", "focal"))
    ]


def test_a_remedy_is_told_by_what_acts():
    lines = drawn(running(2), width=200)
    assert lines[-2].endswith("focal 2.0, inverse weights x 2, per_class sampling")
    assert lines[-1].endswith(" bce")


@settings(deadline=None)
@given(st.integers(20, 250), st.integers(4, 80), st.integers(0, 70), st.integers(0, 10**6))
def test_the_view_never_leaves_the_terminal(width, height, members, done):
    counts = {"complete": done, "best_number": done, "best_value": 0.5, "best_config": FOCAL}
    progress = running(members, **counts)
    lines = drawn(progress, width=width, height=height)
    head = next(i for i, line in enumerate(lines) if line.endswith("%"))
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= max(height - 1, head + 1)
    shown = sum("5/100" in line or line.lstrip()[:2].isdigit() for line in lines[head + 1 :])
    if shown and shown < members:
        assert lines[-1] == f"... and {members - shown} more"
    if shown < members:
        assert shown == max(0, height - head - 4)


def test_what_is_not_known_yet_is_left_open():
    progress = Progress(100, running={3: (0, float("nan"))})
    lines = drawn(progress)
    assert lines[0].startswith("no best yet  0/100 trials")
    assert "left" not in "\n".join(lines)
    assert lines[-1].split() == ["3", "0", "-", "-"]


@pytest.mark.parametrize(
    ("timeout", "words"), [(0.0, ""), (300.0, "about 5 min left"), (0.001, "ending")]
)
def test_a_timeout_is_time_left_before_any_trial_has_ended(timeout, words, monkeypatch):
    clock = iter([0.0, *[1.0] * 9])
    monkeypatch.setattr(
        "search.commands.terminal.time", SimpleNamespace(monotonic=lambda: next(clock))
    )
    progress = running(1)
    progress.timeout = timeout
    text = " ".join(drawn(progress))
    assert words in text
    assert ("left" in text or "ending" in text) == bool(words)


def test_elsewhere_a_line_comes_every_ten_seconds_and_one_at_the_end(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("search.commands.terminal.time", SimpleNamespace(monotonic=lambda: now[0]))
    file = io.StringIO()
    with progress_view(Console(file=file, width=40), "clinic") as view:
        for second in range(26):
            now[0] = float(second)
            view(running(1, complete=second))
        assert file.getvalue().count("\n") == 2 == 25 // PLAIN_SECONDS
    *_, last = file.getvalue().splitlines()
    assert last.startswith("clinic: no best yet, 25/100 trials, 25 complete, 0 pruned, 0 failed")
    assert last.endswith("0:00:25 elapsed, about 1 min left")
    assert len(file.getvalue().splitlines()) == 3


def test_a_search_that_fails_before_it_begins_says_nothing_of_progress():
    file = io.StringIO()
    with progress_view(Console(file=file), "clinic"):
        pass
    assert file.getvalue() == ""


class Terminal:
    """A command whose stderr is a pseudo-terminal of its own, its stdout a pipe."""

    def __init__(self, command, *, columns=80, lines=24, **environment):
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, *map(str, command)],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
            start_new_session=True,
            env={**kept, "TERM": "xterm-256color", **environment},
        )
        os.close(slave)
        self.text = ""

    def resize(self, columns, lines):
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def press(self, keys):
        os.write(self.master, keys)

    def read_until(self, pattern, seconds=90):
        """Read until what comes from now on matches."""
        start, deadline = len(self.text), time.monotonic() + seconds
        while not re.search(pattern, self.text[start:]):
            assert time.monotonic() < deadline, self.text
            assert self._read(), self.text

    def hang_up(self):
        """Close the terminal, as when a connection breaks: what runs in it gets SIGHUP."""
        os.close(self.master)
        self.master = None

    def finish(self):
        """Read to the end; return stdout."""
        while self._read():
            pass
        return self.process.communicate(timeout=60)[0]

    def close(self):
        self.process.kill()
        self.process.communicate()
        if self.master is not None:
            os.close(self.master)

    def _read(self):
        select.select([self.master], [], [], 60)
        try:
            data = os.read(self.master, 65536)
        except OSError:  # as Linux tells the end of a terminal
            return False
        self.text += data.decode()
        return bool(data)

    def frames(self):
        """Each drawing of the live view as lines without colours."""
        drawings = [ESCAPES.sub("", part) for part in self.text.split(REDRAW)]
        return [drawing.replace("\r", "").splitlines() for drawing in drawings if drawing.strip()]


@pytest.fixture
def terminal(command):
    """Start the command with further arguments on a terminal; ended with the test."""
    with ExitStack() as opened:

        def start(*arguments, **environment):
            found = Terminal([*command, *arguments, "--json"], **environment)
            opened.callback(found.close)
            return found

        yield start


@pytest.fixture
def command(table_csv, tmp_path):
    definition = tmp_path / "long.toml"
    definition.write_text(
        "[training]\nepochs = 300\nearly_stop_patience = 300\nnum_layers = 1\n"
        "[space]\nbatch_size = [64]\nhidden_dim = [16]\n"
    )
    roles = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    where = ("--csv", table_csv, "--workspace", tmp_path / "runs")
    return [RARETUNE, "search", definition, *where, *roles]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_real_terminal_shows_members_follows_its_size_and_survives_ctrl_c(terminal, workers):
    shown = terminal("--workers", workers, "--trials", 500)
    shown.read_until(r"\d+/300  0\.\d{4}  0\.\d{4}")
    shown.resize(40, 9)
    shown.read_until(r"\.\.\. and \d+ more")
    shown.read_until(r"\.\.\. and \d+ more")
    narrow = [frame for frame in shown.frames() if any("... and" in line for line in frame)]
    assert all(len(line) <= 40 for line in narrow[-1])
    assert len(narrow[-1]) <= 9
    shown.press(b"\x03")
    stdout = shown.finish()
    assert shown.process.returncode == 0, shown.text[-2000:]
    assert json.loads(stdout)["trials"]["complete"] > 0
    assert shown.text.count(HIDE) == shown.text.count(SHOW) == 1
    assert shown.text.rindex(SHOW) > shown.text.rindex(HIDE)
    fullest = max(shown.frames(), key=lambda frame: sum("/300" in line for line in frame))
    assert any("/500 trials" in line for line in fullest)
    assert sum("/300" in line for line in fullest) >= 3  # the recipes, never pruned
    assert re.search(r"clinic: best 0\.\d{4} \(trial \d+, .*elapsed", shown.text)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_terminal_that_is_closed_ends_the_search_in_order(terminal, workers, tmp_path):
    shown = terminal("--workers", workers, "--trials", 500)
    shown.read_until(r"\d+/300  0\.\d{4}  0\.\d{4}")
    shown.hang_up()
    stdout, _ = shown.process.communicate(timeout=60)
    assert shown.process.returncode == 0
    found = json.loads(stdout)
    assert found["trials"]["complete"] > 0
    assert Path(found["checkpoint"], "model.safetensors").exists()
    study = optuna.load_study(study_name="clinic", storage=found["storage"])
    assert TrialState.RUNNING not in {trial.state for trial in study.trials}


def test_without_colours_the_view_is_live_all_the_same(terminal):
    shown = terminal("--set", "training.epochs=2", "--trials", 4, NO_COLOR="1")
    assert json.loads(shown.finish())["trials"]["complete"] >= 3
    assert shown.text.count(HIDE) == shown.text.count(SHOW) == 1
    assert not re.search(r"\x1b\[[\d;]*[34]\d", shown.text)


def test_a_dumb_terminal_gets_plain_lines_only(terminal):
    shown = terminal("--set", "training.epochs=2", "--trials", 4, TERM="dumb")
    found = json.loads(shown.finish())
    assert found["trials"]["complete"] >= 3
    assert "\x1b" not in shown.text
    assert re.search(r"^clinic: best .* 4/4 trials, .* elapsed\s*$", shown.text, re.MULTILINE)
