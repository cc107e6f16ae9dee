import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.config import TrainConfig
from trainer.loop import fit
from trainer.steps import cache as kept_libraries
from trainer.steps import compiler, native
from trainer.steps.compiler import build

needs_compiler = pytest.mark.skipif(build().library is None, reason=build().how)


@pytest.fixture
def build_anew(monkeypatch, tmp_path):
    """Build as a new process would, with a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return build.__wrapped__


@needs_compiler
def test_what_was_compiled_is_kept(build_anew, monkeypatch, tmp_path):
    first = build_anew()
    kept, digest = sorted((tmp_path / "cache/raretune").iterdir())
    assert digest.name == f"{kept.name}.sha256"
    assert (tmp_path / "cache/raretune").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(compiler.tempfile, "TemporaryDirectory", None)  # nothing is made again
    second = build_anew()
    assert second.library._name == str(kept)
    assert first.how == second.how
    assert "floats at once" in first.how
    assert (first.unkept, second.unkept) == ("", "")


@needs_compiler
def test_another_source_is_compiled_anew(build_anew, monkeypatch, tmp_path):
    source = tmp_path / "steps.c"
    source.write_text(compiler.SOURCE.read_text() + "const int changed = 1;\n")
    build_anew()
    monkeypatch.setattr(compiler, "SOURCE", source)
    assert hasattr(build_anew().library, "train")
    assert len(list((tmp_path / "cache/raretune").glob("*.so"))) == 2


@needs_compiler
def test_it_works_where_nothing_can_be_kept(build_anew, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    found = build_anew()
    assert found.library is not None
    assert found.unkept.startswith(f"can't write to {tmp_path / 'cache/raretune'}")


@needs_compiler
def test_it_works_for_a_user_without_a_home(build_anew, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiler.Path, "home", homeless)
    found = build_anew()
    assert found.library is not None
    assert found.unkept == "this user has no home folder"


@pytest.fixture
def tiny_source(monkeypatch, tmp_path):
    """A library that is compiled in no time."""
    source = tmp_path / "steps.c"
    source.write_text(
        "const int lanes = 4; void train(){} void predict(){} long scratch_floats(){return 1;}"
    )
    monkeypatch.setattr(compiler, "SOURCE", source)
    return source


@needs_compiler
def test_whatever_happened_to_what_was_kept_it_is_made_anew(build_anew, tiny_source, tmp_path):
    """A torn library would end the process when loaded, one of somebody else's would run."""
    build_anew()
    library, digest = sorted((tmp_path / "cache/raretune").iterdir())
    whole = library.read_bytes()
    dice = random.Random(0)

    def flip(path):
        content = bytearray(path.read_bytes())
        content[dice.randrange(len(content))] ^= dice.randrange(1, 256)
        path.write_bytes(content)

    def link(path):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)

    def rewrite(path):
        content = dice.randbytes(dice.randrange(len(whole)))
        path.unlink()
        path.write_bytes(content)

    faults = [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)]),
        lambda path: path.chmod(0o666),
        lambda path: (path.unlink(), os.mkfifo(path)),
        flip,
        link,
        rewrite,
    ]
    for number in range(5 * len(faults)):
        harmed = dice.choice((library, digest))
        harmed_before = harmed.read_bytes()
        faults[number % len(faults)](harmed)
        found = build_anew()
        assert found.library is not None
        if harmed.is_fifo() or harmed.is_symlink() or harmed.read_bytes() != harmed_before:
            assert found.library._name != str(library), number
        assert (library.read_bytes(), found.unkept) == (whole, "")
        assert build_anew().library._name == str(library)  # and that was kept again


@needs_compiler
def test_a_kept_library_without_a_function_is_made_anew(build_anew, tiny_source, tmp_path):
    build_anew()
    library, digest = sorted((tmp_path / "cache/raretune").iterdir())
    other = tmp_path / "other.c"
    other.write_text("int nothing = 0;")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, other], check=True)
    digest.write_text(f"{kept_libraries._digest(library.read_bytes())}\n")
    found = build_anew()
    assert hasattr(found.library, "train")


@needs_compiler
@pytest.mark.parametrize("open_to_others", ["cache", "cache/raretune"])
def test_nothing_is_loaded_from_a_folder_that_others_may_write_to(
    build_anew, tiny_source, tmp_path, open_to_others
):
    build_anew()
    library, _ = sorted((tmp_path / "cache/raretune").iterdir())
    (tmp_path / open_to_others).chmod(0o777)
    found = build_anew()
    assert found.library._name != str(library)
    assert found.unkept == f"somebody else may write to {library.parent}"


@needs_compiler
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("given_away", ["cache", "cache/raretune", "library", "digest"])
def test_nothing_of_another_user_is_loaded(build_anew, tiny_source, tmp_path, given_away):
    build_anew()
    library, digest = sorted((tmp_path / "cache/raretune").iterdir())
    harmed = {"library": library, "digest": digest}.get(given_away, tmp_path / given_away)
    os.chown(harmed, 65534, -1)
    assert build_anew().library._name != str(library)


@needs_compiler
def test_a_relative_cache_folder_is_ignored(build_anew, tiny_source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build_anew().unkept == ""
    assert not (tmp_path / "relative").exists()
    assert (tmp_path / "home/.cache/raretune").is_dir()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "cannot open shared object file"),
        ("echo >&2; exit 1", "non-zero exit status 1"),
        ("printf '\\377 is wrong' >&2; exit 1", "is wrong"),
        (
            'while [ "$1" != -o ]; do test "$1" || exit 0; shift; done; '
            "echo 'int nothing;' | cc -shared -fPIC -o \"$2\" -xc -",
            "the library that it made lacks lanes, scratch_floats, train, predict",
        ),
        (
            'while [ "$1" != -o ]; do test "$1" || exit 0; shift; done; : > "$2"',
            "file too short",
        ),
        (
            'cc "$@" || exit; while [ "$1" != -o ]; do test "$1" || exit 0; shift; done; '
            'head -c 5000 "$2" > torn; mv torn "$2"',
            "the library that it made ends the process that loads it",
        ),
    ],
)
def test_a_compiler_that_makes_no_library_means_torch(
    build_anew, monkeypatch, tmp_path, script, reason
):
    compiler_script = tmp_path / "odd"
    compiler_script.write_text(f"#!/bin/sh\n{script}\n")
    compiler_script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", str(compiler_script))
    found = build_anew()
    assert found.library is None
    assert found.how.startswith(f"{compiler_script} failed: ")
    assert reason in found.how
    assert "\n" not in found.how


def test_a_compiler_with_an_unclosed_quote_means_torch(build_anew, monkeypatch):
    monkeypatch.setenv("CC", "cc 'unclosed")
    found = build_anew()
    assert (found.library, found.how) == (None, "$CC can't be read (No closing quotation)")


def test_a_machine_without_a_compiler_trains_in_torch(build_anew, monkeypatch, data):
    monkeypatch.setenv("CC", "no-such-compiler")
    found = build_anew()
    assert (found.library, found.how) == (None, "there is no C compiler no-such-compiler")
    monkeypatch.setattr("trainer.steps.native.build", lambda: found)
    for module in ("in_c", "inference"):
        monkeypatch.setattr(f"trainer.steps.{module}.library", native.library.__wrapped__)
    config = TrainConfig.create(batch_size=32, hidden_dim=16, epochs=2, lr=1e-2)
    (result,) = fit.fit(data, [config])
    assert result.stopped == "epochs"
    assert result.history[1]["loss"] < result.history[0]["loss"]


def test_a_compiler_that_fails_is_named_with_its_first_words(build_anew, monkeypatch, tmp_path):
    script = tmp_path / "broken"
    script.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('out of order\\nat line 2')\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    assert build_anew().how == f"{script} failed: out of order"


def test_a_compiler_from_pypi_stands_in_where_there_is_no_other(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiler, "find_spec", lambda name: name == "ziglang")
    monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert compiler._compiler() == ["cc"]
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    assert compiler._compiler() == [sys.executable, "-m", "ziglang", "cc"]


def test_a_run_without_a_compiler_says_once_that_it_is_slow(table_csv, tmp_path):
    command = [Path(sys.executable).with_name("raretune"), "train", "--csv_path", table_csv]
    flags = ["--label", "rare", "--label", "rarer", "--epochs", "2", "--output_dir", tmp_path]
    done = subprocess.run(
        [*command, *flags],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CC": "no-such-compiler"},
    )
    assert done.stderr.count("no C compiler no-such-compiler, so training takes") == 1
    assert "install gcc or clang" in done.stderr
    assert "Validated macro-F1" in done.stdout


@needs_compiler
def test_what_is_kept_is_this_users_alone_whatever_the_umask(build_anew, tiny_source, tmp_path):
    before = os.umask(0)
    try:
        build_anew()
    finally:
        os.umask(before)
    library, digest = sorted((tmp_path / "cache/raretune").iterdir())
    assert {path.stat().st_mode & 0o777 for path in (library, digest)} == {0o600}
    assert build_anew().library._name == str(library)
