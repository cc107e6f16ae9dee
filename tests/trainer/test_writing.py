import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer import writing
from trainer.errors import RaretuneError
from trainer.writing import remove_leftovers, replaced_folder, write_whole, written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new/folder/page.html"
    write_whole(path, "<p>é</p>")
    assert path.read_bytes() == "<p>é</p>".encode()
    with pytest.raises(ValueError, match="halfway"), written_whole(path) as file:  # noqa: PT012
        file.write(b"half")
        raise ValueError("halfway")
    assert path.read_bytes() == "<p>é</p>".encode()
    assert names(path.parent) == ["page.html"]


def test_a_link_is_followed_and_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere/real.csv", tmp_path / "link.csv"
    link.symlink_to(Path("elsewhere/real.csv"))
    for text in ("dangling", "there"):
        write_whole(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert names(tmp_path) == ["elsewhere", "link.csv"]


def test_an_existing_file_keeps_its_mode_and_a_new_one_has_that_of_any_other(tmp_path):
    path = tmp_path / "secret.csv"
    write_whole(path, "one")
    (tmp_path / "any").touch()
    assert mode(path) == mode(tmp_path / "any")
    path.chmod(0o600)
    write_whole(path, "two")
    assert (path.read_text(), mode(path)) == ("two", 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_existing_file_keeps_its_owner(tmp_path):
    path = tmp_path / "theirs.csv"
    path.touch()
    os.chown(path, 65534, 65534)
    write_whole(path, "two")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_a_pipe_and_a_device_are_written_to_and_stay_what_they_are(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        write_whole(pipe, "through")
        assert reader.communicate()[0] == b"through"
    assert pipe.is_fifo()
    write_whole(Path(os.devnull), "nothing")
    assert Path(os.devnull).is_char_device()
    assert names(tmp_path) == ["pipe"]


def test_a_closed_pipe_is_not_taken_for_a_bad_path(tmp_path):
    reading, written = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        write_whole(Path(f"/dev/fd/{written}"), "nobody reads" * 10_000)
    os.close(written)


def test_stdout_has_a_name(capfdbinary):
    write_whole(Path("-"), "é")
    assert capfdbinary.readouterr().out == "é".encode()
    assert not Path("-").exists()


@pytest.mark.parametrize("path", [".", "", "/", "..", "{}", "{}/file/below", "/proc/none/x"])
def test_odd_paths_are_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RaretuneError, match=r"can't write .*; name another --output") as caught:
        write_whole(Path(path.format(tmp_path)), "text")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_the_longest_name_can_be_written(tmp_path):
    write_whole(tmp_path / ("ü" * 120 + ".csv"), "text")
    with replaced_folder(tmp_path / ("ü" * 127), ()) as fresh:
        (fresh / "file").touch()
    assert len(names(tmp_path)) == 2


SLOW = """
import sys, time
from pathlib import Path
from trainer.writing import replaced_folder, written_whole
path = Path(sys.argv[1])
with written_whole(path / "large.csv") as file, replaced_folder(path / "best", ()) as fresh:
    file.write(bytes(1000))
    (fresh / "model").write_bytes(bytes(1000))
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmp_path, number):
    command = [sys.executable, "-c", SLOW, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        write_whole(tmp_path / "other.csv", "text")  # takes nothing from a process that lives
        assert len(names(tmp_path)) == 3
        process.send_signal(number)
        process.wait()
    assert len(names(tmp_path)) == 3
    write_whole(tmp_path / "other.csv", "text")
    assert names(tmp_path) == ["other.csv"]


def test_files_are_written_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("trainer.writing.fcntl.flock", refuse)
    for text in ("one", "two"):
        write_whole(tmp_path / "page.html", text)
        with replaced_folder(tmp_path / "best", ("model",)) as fresh:
            (fresh / "model").write_text(text)
    assert names(tmp_path) == ["best", "page.html"]


def test_what_is_swept_away_before_it_was_locked_is_begun_again(tmp_path, monkeypatch):
    lock, swept = writing._lock, []

    def sweep_first(number):
        if not swept:
            remove_leftovers(tmp_path)
            swept.append(number)
        lock(number)

    monkeypatch.setattr("trainer.writing._lock", sweep_first)
    write_whole(tmp_path / "page.html", "text")
    swept.clear()
    with replaced_folder(tmp_path / "best", ()) as fresh:
        (fresh / "model").touch()
    assert names(tmp_path) == ["best", "page.html"]


def test_a_folder_set_aside_is_never_taken_for_a_leftover(tmp_path):
    aside = tmp_path / f".best.1{writing.PART}" / "old"
    aside.mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert aside.exists()


@pytest.fixture(params=[True, False], ids=["exchanged", "renamed twice"])
def folder(request, tmp_path, monkeypatch):
    """A folder of ours that a user has put things into; `request` is whether it is exchanged."""
    if not request.param:
        monkeypatch.setattr("trainer.writing._exchange", lambda one, other: False)
    folder = tmp_path / "best"
    (folder / "notes/deep").mkdir(parents=True)
    (folder / "model").write_text("old")
    (folder / "history").write_text("old")
    (folder / "notes/deep/thoughts.txt").write_text("mine")
    (folder / "predictions.csv").write_text("mine")
    (folder / "link").symlink_to("notes")
    os.mkfifo(folder / "pipe")
    (folder / "predictions.csv").chmod(0o640)
    folder.chmod(0o750)
    return folder


def replace(folder):
    with replaced_folder(folder, ("model", "history")) as fresh:
        (fresh / "model").write_text("new")


def test_a_folder_is_replaced_but_for_what_a_user_put_there(folder):
    inode = (folder / "predictions.csv").stat().st_ino
    replace(folder)
    assert names(folder) == ["link", "model", "notes", "pipe", "predictions.csv"]
    assert (folder / "model").read_text() == "new"
    assert (folder / "link/deep/thoughts.txt").read_text() == "mine"
    assert (folder / "predictions.csv").stat().st_ino == inode
    assert (mode(folder), mode(folder / "predictions.csv")) == (0o750, 0o640)
    assert (folder / "link").is_symlink()
    assert (folder / "pipe").is_fifo()
    assert names(folder.parent) == ["best"]


def test_a_failure_leaves_the_folder_as_it_was(folder, monkeypatch):
    before = names(folder)
    with pytest.raises(ZeroDivisionError), replaced_folder(folder, ("model",)) as fresh:
        (fresh / "model").write_text(str(1 / 0))
    monkeypatch.setattr("trainer.writing._link", lambda source, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replace(folder)
    assert names(folder) == before
    assert (folder / "model").read_text() == "old"
    assert names(folder.parent) == ["best"]


def test_where_files_can_have_no_second_name_they_are_copied(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    (folder / "pipe").unlink()
    monkeypatch.setattr("trainer.writing.os.link", refuse)
    replace(folder)
    assert (folder / "notes/deep/thoughts.txt").read_text() == "mine"
    assert mode(folder / "predictions.csv") == 0o640
    assert (folder / "link").is_symlink()


def test_a_folder_behind_a_link_is_replaced_there(folder, tmp_path):
    (tmp_path / "latest").symlink_to("best")
    replace(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert (folder / "model").read_text() == "new"


@pytest.mark.skipif(sys.platform != "linux", reason="exchanges folders in one step")
def test_whoever_looks_always_finds_the_folder(tmp_path):
    folder = tmp_path / "best"
    replace(folder)
    look = f"""
import os, sys, time
end = time.monotonic() + 20
print("looking", flush=True)
while time.monotonic() < end and not os.path.exists({str(tmp_path / "stop")!r}):
    if not os.path.isdir({str(folder)!r}):
        sys.exit("gone")
"""
    with subprocess.Popen([sys.executable, "-c", look], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            replace(folder)
        (tmp_path / "stop").touch()
        assert process.wait() == 0
