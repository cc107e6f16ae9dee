import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import draw_table
from safetensors.torch import load_file, save_file

from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.split import split_rows
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


# Rows that were trained on, in whatever file


FORMS = {
    "own.csv": lambda table, path: table.to_csv(path, index=False),
    "packed.csv.gz": lambda table, path: table.to_csv(path, index=False),
    "own.parquet": lambda table, path: table.to_parquet(path, index=False),
    "shuffled.csv": lambda table, path: table.sample(frac=1, random_state=1).to_csv(
        path, index=False
    ),
    "crlf.csv": lambda table, path: table.to_csv(path, index=False, lineterminator="\r\n"),
    "more.csv": lambda table, path: table.assign(new=1).to_csv(path, index=False),
    "fewer.csv": lambda table, path: table.drop(columns="person").to_csv(path, index=False),
}


@pytest.fixture
def scored(here, folder, tmp_path):
    """Evaluate on a file and return what --json says."""

    def run(path, *arguments, checkpoint=folder):
        page = tmp_path / "page.html"
        done = here("evaluate", checkpoint, "--csv", path, "--output", page, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("name", FORMS)
def test_the_training_table_is_known_in_whatever_form(scored, folder, tmp_path, name):
    """Its test rows alone are scored, to the same scores."""
    FORMS[name](clinic(), tmp_path / name)
    found, own = scored(tmp_path / name), scored(folder.parent / "train.csv")
    n_test = load_checkpoint(folder).record.split["rows"]["test"]
    assert found["rows"] == own["rows"] == n_test
    assert "trained on" in found["note"]
    for label, scores in own["labels"].items():
        assert found["labels"][label] == pytest.approx(scores)


def test_rows_trained_on_among_new_ones_are_counted_and_left_out(scored, tmp_path):
    """Alone, the new rows have the same scores."""
    new = clinic(rows=188, seed=1)
    trained = clinic().iloc[known_rows()[:612]]
    pd.concat([trained, new]).sample(frac=1, random_state=2).to_csv(
        tmp_path / "both.csv", index=False
    )
    new.to_csv(tmp_path / "new.csv", index=False)
    found, alone = scored(tmp_path / "both.csv"), scored(tmp_path / "new.csv")
    assert found["rows"] == alone["rows"] == 188
    assert found["note"].startswith("612 of these 800 rows were trained on, so only the other 188")
    assert alone["note"] == ""
    for label, scores in alone["labels"].items():
        assert found["labels"][label] == pytest.approx(scores)
    every = scored(tmp_path / "both.csv", "--all_rows")
    assert every["rows"] == 800
    assert every["note"].startswith("612 of these 800 rows were trained on, so the scores are bett")


def known_rows():
    """Indices of the rows that the checkpoint of `folder` learned from."""
    table = clinic()
    split = split_rows(
        table[["rare", "rarer"]].to_numpy(np.float32),
        pd.factorize(table["family"])[0],
        label_names=("rare", "rarer"),
        val_size=0.2,
        test_size=0.2,
        seed=0,
    )
    return np.concatenate([split.train, split.validation])


@pytest.mark.parametrize("form", ["as it was", "shuffled"])
def test_all_rows_of_the_training_table_are_scored_only_when_asked_for(scored, tmp_path, form):
    table = clinic()
    order = range(900) if form == "as it was" else np.random.default_rng(3).permutation(900)
    table.iloc[order].to_csv(tmp_path / "train.csv", index=False)
    found = scored(tmp_path / "train.csv", "--all_rows")
    assert found["rows"] == 900
    assert f"{len(known_rows())} of these 900 rows were trained on" in found["note"]


def test_where_no_row_is_left_that_is_said(here, folder, tmp_path):
    clinic().iloc[known_rows()].to_csv(tmp_path / "known.csv", index=False)
    done = here("evaluate", folder, "--csv", tmp_path / "known.csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none is left to score" in done.stderr
    assert "--all_rows" in done.stderr


def test_a_checkpoint_of_an_earlier_version_knows_its_file_alone(scored, folder, tmp_path):
    save_checkpoint(tmp_path / "earlier", replace(load_checkpoint(folder), rows=None))
    assert load_checkpoint(tmp_path / "earlier").rows is None
    own = scored(folder.parent / "train.csv", checkpoint=tmp_path / "earlier")
    assert own["note"].startswith("The checkpoint was trained on this table")
    clinic().to_parquet(tmp_path / "own.parquet")
    assert scored(tmp_path / "own.parquet", checkpoint=tmp_path / "earlier")["rows"] == 900


def test_a_column_that_is_not_there_is_named(evaluate):
    done = evaluate(clinic(seed=1).drop(columns=["site"]))
    assert done.returncode == 2
    assert "the table lacks 1 columns that the features need: 'site'" in done.stderr


def test_digests_of_other_rows_than_the_record_says_are_refused(here, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "best")
    tensors = load_file(tmp_path / "best" / "model.safetensors")
    tensors["rows.test"] = tensors["rows.test"][1:].clone()
    save_file(tensors, tmp_path / "best" / "model.safetensors")
    done = here("evaluate", tmp_path / "best", "--csv", folder.parent / "train.csv")
    assert done.returncode == 2
    assert "its digests are not of 900 rows" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"rare": 0.5, "rarer": 0.5}',
            "says 0.5 for rare, where checkpoint.json says 0.",
        ),
        ("[]", "thresholds.json is no list of thresholds"),
        ("{", "thresholds.json can't be read"),
    ],
)
def test_thresholds_that_were_changed_beside_the_record_are_said_to_be_unused(
    here, folder, tmp_path, text, told
):
    clinic(seed=1).to_csv(tmp_path / "new.csv", index=False)
    shutil.copytree(folder, tmp_path / "best")
    words = ("predict", tmp_path / "best", "--csv", tmp_path / "new.csv", "--output")
    before = here(*words, tmp_path / "before.csv")
    assert before.stderr == ""
    (tmp_path / "best" / "thresholds.json").write_text(text)
    after = here(*words, tmp_path / "after.csv")
    assert after.returncode == 0
    assert after.stderr.count("\n") == 1
    assert told in after.stderr
    assert "it is not used, and checkpoint.json is; change both" in after.stderr
    assert (tmp_path / "before.csv").read_bytes() == (tmp_path / "after.csv").read_bytes()
    page = tmp_path / "page.html"
    scored = here("evaluate", *words[1:-1], "--output", page)
    assert told in scored.stderr
