"""Flags that would change nothing."""

import inspect
import json

import pytest

from trainer.commands.cli import train
from trainer.commands.effects import UNLESS_GIVEN
from trainer.loop.resume import STATE

QUICK = ["--epochs", "2", "--batch_size", "128"]
LABELS = ["--label", "rare", "--label", "rarer"]


@pytest.fixture
def run(here, table_csv, tmp_path):
    def train(*flags):
        table = ("--csv_path", table_csv, *LABELS, "--output_dir", tmp_path / "run")
        return here("train", *table, *QUICK, *flags)

    return train


def refusal(done):
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("flags", "without", "remedy"),
    [
        ("--class_weight_method aggressive", "--loss_type bce", "add --loss_type weighted_bce"),
        ("--class_weight_multiplier 2", "--loss_type bce", "add --loss_type weighted_bce"),
        ("--threshold_metric f2", "thresholds stay 0.5", "add --optimize_thresholds"),
        ("--focal_gamma 3", "--loss_type bce", "add --loss_type focal"),
        ("--focal_gamma 3 --loss_type weighted_bce", "weighted_bce", "add --loss_type focal"),
        ("--num_layers 0 --hidden_dim 512", "no hidden layer", "leave --hidden_dim out"),
        ("--num_layers 0 --dropout 0.5", "no hidden layer", "leave --dropout out"),
        ("--use_weighted_sampling --weight_method none", "--weight_method none", "no effect"),
    ],
)
def test_a_flag_without_effect_is_refused_before_anything_trains(
    run, tmp_path, flags, without, remedy
):
    message = refusal(run(*flags.split()))
    assert "no effect" in message
    assert without in message
    assert remedy in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags",
    [
        "--class_weight_method none --class_weight_multiplier 1",
        "--class_weight_multiplier 2 --loss_type weighted_bce",
        "--focal_gamma 3 --loss_type focal --class_weight_method aggressive",
        "--num_layers 0 --dropout 0",
        "--threshold_metric f2 --optimize_thresholds",
    ],
)
def test_flags_with_an_effect_and_neutral_ones_are_taken(run, flags):
    done = run(*flags.split())
    assert done.returncode == 0, done.stderr


@pytest.fixture
def interrupted(run, tmp_path, monkeypatch):
    """A run that was stopped after its first epoch."""
    monkeypatch.setattr("trainer.commands.interrupt.Interrupt.__call__", lambda self: True)
    assert run("--seed", "3", "--id", "person", "--group", "family").returncode == 0
    monkeypatch.undo()
    assert (tmp_path / "run" / STATE).exists()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("flags", "was"),
    [
        (["--epochs", "50"], "(2)"),
        (["--lr", "0.1"], "(0.001)"),
        (["--seed", "4"], "(3)"),
        (["--val_size", "0.3"], "(0.2)"),
        (["--label", "rare"], "(rare rarer)"),
        (["--group", "site"], "(family)"),
        (["--use_weighted_sampling"], "(False)"),
        (["--optimize_thresholds"], "(False)"),
        (["--output_dir", "elsewhere"], "/run)"),
        (["--csv", "other.csv"], "clinic.csv)"),
    ],
)
def test_resuming_with_another_setting_is_refused(here, interrupted, flags, was):
    message = refusal(here("train", "--resume", interrupted, *flags))
    assert f"{flags[0].replace('--csv', '--csv_path')} " in message
    assert was in message
    assert (interrupted / STATE).exists()


def test_resuming_with_the_same_settings_goes_on(here, run, interrupted):
    done = run("--seed", "3", "--id", "person", "--group", "family", "--resume", interrupted)
    assert done.returncode == 0, done.stderr
    assert not (interrupted / STATE).exists()


def test_a_short_run_is_not_called_sound(run):
    assert "Diagnosis: 2 epochs are too few to judge" in run().stdout
    assert "2 epochs are too few" in json.loads(run("--json").stdout)["unjudged"]


def test_the_defaults_are_those_of_the_command():
    parameters = inspect.signature(train).parameters
    assert {name: parameters[name].default for name in UNLESS_GIVEN} == UNLESS_GIVEN
