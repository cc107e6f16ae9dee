"""How a command line ends, in real processes, by real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.commands.streams import _escaped

RARETUNE = Path(sys.executable).with_name("raretune")
FAILING = """
import sys
from trainer.commands.entry import make_app, run_app
app = make_app("raretune", "A test.")

@app.command()
def fail():
    {body}

run_app(app)
"""


def failing(body, encoding="utf-8", **options):
    """Run a command line whose only command has this body."""
    return subprocess.run(
        [sys.executable, "-c", FAILING.format(body=body)],
        capture_output=True,
        encoding=encoding,
        timeout=60,
        **options,
    )


def started(*arguments, **options):
    return subprocess.Popen(
        [str(part) for part in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_fault_is_one_line_that_names_the_file_with_its_traceback(tmp_path):
    done = failing('{}["a\\nb"]', env={**os.environ, "TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "this is a fault of raretune (KeyError: 'a\\nb')" in done.stderr
    (path,) = tmp_path.glob("raretune-*.txt")
    assert str(path) in done.stderr
    assert "Traceback (most recent call last)" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_fault_tells_no_password(tmp_path):
    body = 'raise ValueError("postgresql://joe:SECRET@host/db is odd")'
    done = failing(body, env={**os.environ, "TMPDIR": str(tmp_path)})
    (path,) = tmp_path.glob("raretune-*.txt")
    assert "***@host" in done.stderr
    assert "SECRET" not in done.stderr + path.read_text()


def test_a_fault_is_one_line_where_nothing_can_be_written_too():
    code = FAILING.format(body="1 / 0").replace("import sys", "import sys, tempfile", 1)
    broken = "def mkstemp(**_): raise OSError(28, 'No space left on device')\n"
    code = code.replace("app = ", f"{broken}tempfile.mkstemp = mkstemp\napp = ", 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError" in done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise MemoryError", "not enough memory .* with smaller networks"),
        ("import numpy; numpy.zeros(2**46)", "not enough memory .*Unable to allocate"),
        ("import torch; torch.zeros(2**50)", "not enough memory .*can't allocate memory"),
        ('raise OSError(28, "No space left on device", "x.csv")', "x.csv: No space .* free disk"),
    ],
)
def test_what_the_machine_lacks_is_one_line_with_the_remedy(body, message):
    done = failing(body)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", FAILING.format(body='print("x")')],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "can't write the results: No space left on device" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_encoding_lacks_is_escaped_and_json_stays_json(encoding):
    body = (
        r'print("\"caf\u00e9 \u60a3\u8005 \U0001f600 \udcff\""); print("\u2501", file=sys.stderr)'
    )
    done = failing(body, encoding, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "\\u2501\n"
    assert json.loads(done.stdout) == "caf\u00e9 \u60a3\u8005 \U0001f600 \udcff"


def test_errors_in_reading_are_not_escaped():
    with pytest.raises(UnicodeDecodeError):
        _escaped(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"))


@pytest.mark.parametrize("rows", [1, 100_000])
def test_output_that_nobody_reads_ends_the_command_quietly(rows):
    body = f"for i in range({rows}): print(i)"
    code = FAILING.format(body=body)
    process = started(sys.executable, "-c", "import time; time.sleep(0.3)\n" + code)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def unread(*command, stderr=subprocess.PIPE, **variables):
    """Run a command whose output nobody reads; its status and what it said on stderr."""
    ours, theirs = os.pipe()
    os.close(ours)
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs if stderr is None else stderr,
        env=environment,
        text=True,
        timeout=120,
    )
    os.close(theirs)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize(
    "command",
    [
        (RARETUNE, "--help"),
        (RARETUNE, "trials", "--help"),
        (RARETUNE, "studies"),  # through a console
        (RARETUNE, "studies", "show", "nafld"),
        (sys.executable, "-m", "trainer", "--help"),
        (sys.executable, "-m", "trainer", "evaluate", "--help"),
    ],
)
def test_a_command_ends_quietly_where_nobody_reads(command, unbuffered):
    assert unread(*command, **unbuffered) == (141, "")
    if not unbuffered:
        assert unread(*command, stderr=None) == (141, "")


@pytest.mark.parametrize("command", ["trials", "best", "doctor"])
def test_what_reads_a_study_ends_quietly_where_nobody_reads(session, command):
    words = [] if command == "doctor" else ["quick_one"]
    where = ("--workspace", session.workspace.folder)
    assert unread(RARETUNE, command, *words, *where) == (141, "")


def test_a_console_on_stderr_that_nobody_reads_is_no_fault():
    body = "from trainer.commands.terminal import progress_console; progress_console().print('x')"
    code = FAILING.format(body=body)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (141, b"")


def test_a_command_line_without_a_command_is_the_help_on_lines_of_its_own():
    for command in ((RARETUNE,), (sys.executable, "-m", "trainer")):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") > 6
        assert "\\n" not in done.stderr


def test_streams_that_are_closed_from_the_start_are_no_fault():
    done = subprocess.run(
        ["bash", "-c", f'"{RARETUNE}" studies >&- 2>&-; echo $?'], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_any_command_in_order(name, tmp_path):
    body = (
        "import time, pathlib\n"
        "    try:\n"
        "        print('begun', flush=True); time.sleep(60)\n"
        "    finally: pathlib.Path('cleaned').touch()"
    )
    process = started(sys.executable, "-c", FAILING.format(body=body), cwd=tmp_path)
    assert process.stdout.readline() == "begun\n"
    number = getattr(signal, name)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert stderr.startswith("raretune: stopped")
    assert stderr.count("\n") == 1
    assert (tmp_path / "cleaned").exists()


def test_a_hang_up_that_is_ignored_stays_so():
    body = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('still here')"
    done = failing(body, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert (done.returncode, done.stdout) == (0, "still here\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_foreign_code_swallows_ends_a_run_where_it_begins(name):
    """As Cython does with an exception that its function can't hand on, and __del__."""
    body = (
        "import os, signal; from trainer.commands.interrupt import interruptible\n"
        "    class Swallowing:\n"
        f"        def __del__(self): os.kill(os.getpid(), signal.{name})\n"
        "    Swallowing()\n"
        "    with interruptible(): print('begun')"
    )
    done = failing(body)
    assert done.returncode == 128 + getattr(signal, name)
    assert (done.stdout, done.stderr) == ("", f"raretune: stopped by {name}\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("delay", [0.02, 0.15, 0.4, 1.0, 1.6])
def test_a_signal_at_any_moment_shows_no_traceback(name, delay, table_csv, tmp_path):
    roles = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    where = ("--csv", table_csv, "--workspace", tmp_path / "runs", "--trials", "4000")
    process = started(RARETUNE, "search", *where, *roles)
    time.sleep(delay)
    process.send_signal(getattr(signal, name))
    _, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr, stderr


def test_the_trainer_runs_without_the_word_train(table_csv, tmp_path):
    roles = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    flags = ("--csv_path", table_csv, "--output_dir", tmp_path / "run", "--epochs", "1")
    command = [sys.executable, "-m", "trainer", *flags, *roles]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoint.json").exists()
    shown = subprocess.run(
        [sys.executable, "-m", "trainer", "--help"], capture_output=True, text=True
    )
    assert "evaluate" in shown.stdout
