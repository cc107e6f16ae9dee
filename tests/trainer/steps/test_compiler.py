import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.config import TrainConfig
from trainer.loop import fit
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
    (kept,) = (tmp_path / "cache/raretune").iterdir()
    monkeypatch.setattr(compiler.shutil, "copy", None)  # nothing is made a second time
    second = build_anew()
    assert second.library._name == str(kept)
    assert first.how == second.how
    assert "floats at once" in first.how


@needs_compiler
def test_another_source_is_compiled_anew(build_anew, monkeypatch, tmp_path):
    source = tmp_path / "steps.c"
    source.write_text(compiler.SOURCE.read_text() + "const int changed = 1;\n")
    build_anew()
    monkeypatch.setattr(compiler, "SOURCE", source)
    assert hasattr(build_anew().library, "train")
    assert len(list((tmp_path / "cache/raretune").iterdir())) == 2


@needs_compiler
def test_it_works_where_nothing_can_be_kept(build_anew, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert build_anew().library is not None


@needs_compiler
def test_it_works_for_a_user_without_a_home(build_anew, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiler.Path, "home", homeless)
    assert build_anew().library is not None


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
