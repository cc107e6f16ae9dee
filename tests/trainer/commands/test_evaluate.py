import json

import numpy as np
import pytest
import torch
from conftest import draw_table

from trainer.checkpoint import save_checkpoint
from trainer.config import TrainConfig
from trainer.data.table import Roles
from trainer.experiment import SplitSettings, make_checkpoint, prepare_experiment
from trainer.loop.fit import fit

CODES = ["0017", "0018", "A019", "0020"]


def clinic(rows=900, seed=0):
    """The shared table and a column of codes, one of which tells that it is text."""
    table = draw_table(rows, seed)
    table["code"] = np.random.default_rng(seed).choice(CODES, rows)
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    clinic().to_csv(folder / "train.csv", index=False)
    roles = Roles(("rare", "rarer"), group="family", id=("person",))
    experiment = prepare_experiment(
        folder / "train.csv", roles, SplitSettings(0.2, 0.2, 0), torch.device("cpu")
    )
    config = TrainConfig.create(batch_size=64, hidden_dim=32, num_layers=1, epochs=3, lr=3e-3)
    save_checkpoint(folder / "best", make_checkpoint(experiment, fit(experiment.data, [config])[0]))
    return folder / "best"


@pytest.fixture
def evaluate(here, folder, tmp_path):
    def run(table, *arguments):
        table.to_csv(tmp_path / "new.csv", index=False)
        page = tmp_path / "page.html"
        return here("evaluate", folder, "--csv", tmp_path / "new.csv", "--output", page, *arguments)

    return run


def test_codes_that_happen_to_be_digits_are_the_texts_of_the_training(evaluate):
    table = clinic(seed=1)
    done = evaluate(table[table["code"] != "A019"], "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_many_values_in_few_rows_are_scored_and_said_to_be_new(evaluate):
    table = clinic(seed=1)
    table["site"] = [f"ward {i}" for i in range(len(table))]
    done = evaluate(table.iloc[:600], "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "site: none of 600 values was seen in training, first 'ward 0'\n"
    assert json.loads(done.stdout)["rows"] == 600


def test_other_spellings_are_named(evaluate):
    table = clinic(seed=1)
    table["site"] = table["site"].str.upper().where(table.index > 5)
    table.loc[600:, "site"] = "north"
    done = evaluate(table)
    assert done.returncode == 0, done.stderr
    first = table["site"].dropna().iloc[0]
    assert done.stderr.startswith(
        "site: 594 of 894 values were seen in fewer than 5 rows of the training, or in none, "
        f"first {first!r}; spelled otherwise there: "
    )
    assert "'NORTH' for 'north'" in done.stderr


def test_a_label_without_a_positive_is_said_and_the_others_are_scored(evaluate):
    table = clinic(seed=1).assign(rarer=0)
    done = evaluate(table, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["labels"]) == ["rare"]
    assert found["macro_f1"] == found["labels"]["rare"]["f1"]
    assert found["note"].startswith("rarer: none of these 900 rows is positive, so it has no")
    assert "rarer: none of these 900 rows is positive" in evaluate(table).stdout
    alone = evaluate(clinic(seed=1), "--json")
    assert found["labels"]["rare"] == json.loads(alone.stdout)["labels"]["rare"]


def test_rows_without_any_positive_are_refused_in_one_line(evaluate):
    done = evaluate(clinic(seed=1).assign(rare=0, rarer=1))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no label has both values in the 900 rows" in done.stderr


def test_numbers_that_are_texts_now_are_refused_by_the_training_kind(evaluate):
    table = clinic(seed=1).astype({"a": object})
    table["a"] = [f"about {value}" for value in table["a"]]
    done = evaluate(table)
    assert done.returncode == 2
    assert "column 'a' must hold numbers as it did in training, got 'about" in done.stderr


def test_one_row_of_each_kind_is_enough(evaluate):
    table = clinic(seed=1)
    rows = table[table["rare"] == 1].iloc[:1].index.union(table[table["rare"] == 0].iloc[:1].index)
    done = evaluate(table.loc[rows].assign(rarer=[0, 1], site="north"), "--json")
    assert done.returncode == 0, done.stderr
