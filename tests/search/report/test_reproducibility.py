import subprocess
import sys
from pathlib import Path

import pytest

from search.report.reproducibility import commands, definition_toml
from studies.definition import bundled_names, load_definition


@pytest.mark.parametrize("name", bundled_names())
def test_a_definition_reads_back_as_it_was(tmp_path, name):
    definition = load_definition(name, {"table": {"drop": ['od"d\\ \u00e9\n']}, "seed": 7})
    path = tmp_path / f"{name}.toml"
    path.write_text(definition_toml(definition), encoding="utf-8")
    assert load_definition(str(path), {}) == definition


def test_what_was_fixed_stays_out_of_the_space(tmp_path):
    definition = load_definition("default", {"training": {"num_layers": 1}})
    path = tmp_path / "default.toml"
    path.write_text(definition_toml(definition), encoding="utf-8")
    assert load_definition(str(path), {}) == definition


def test_commands_name_the_trial_and_where_it_is():
    text = commands("clinic", 7, Path("my runs/clinic/best"))
    assert "raretune retrain clinic --trial 7 --workspace 'my runs' --output again" in text
    assert "raretune predict 'my runs/clinic/best'" in text
    assert "--workspace runs" not in commands("clinic", 7, Path("runs/clinic/best"))
    assert "retrain" not in commands("clinic", None, Path("runs/clinic/best"))


def test_a_checkpoint_that_is_not_in_best_is_exported_first():
    text = commands("clinic", 7, Path("my runs/clinic/best"), exported=False)
    assert "raretune export clinic --trial 7 --workspace 'my runs' --output exported" in text
    assert "raretune predict exported --csv" in text
    assert "my runs/clinic/best" not in text


@pytest.mark.parametrize("exported", [True, False])
def test_every_flag_of_the_commands_exists(exported):
    raretune = Path(sys.executable).with_name("raretune")
    text = commands("clinic", 7, Path("elsewhere/clinic/best"), exported=exported)
    for line in text.splitlines()[1::2]:
        _, command, *words = line.split()
        shown = subprocess.run([raretune, command, "--help"], capture_output=True, text=True).stdout
        assert all(word in shown for word in words if word.startswith("--"))
