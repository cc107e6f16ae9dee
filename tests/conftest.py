"""Shared small data: rare labels that a network can learn, in memory and as a CSV."""

import os
import subprocess
import sys

os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from browser import launched, visit

from search.cli import main
from search.export import export_best
from search.session import prepare
from search.store.artifacts import Shelf
from search.store.storage import load_study, open_storage
from search.waves.searching import begin, search_study
from search.workspace import Workspace
from studies.definition import load_definition
from trainer.stack.model import Shape
from trainer.stack.tensors import FoldData, TrainingData

torch.set_num_threads(1)

LABELS = ("rare", "rarer")


def draw_table(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    """Two rare labels that depend on two of four numbers, a category, groups of three and an id."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    score = 1.6 * x[:, 0] + x[:, 1] * (x[:, 1] > 0)
    table = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    table.loc[random.random(rows) < 0.05, "c"] = np.nan
    table["site"] = random.choice(["north", "south", "west"], rows)
    table["family"] = np.arange(rows) // 3
    table["person"] = [f"{i:05d}" for i in range(rows)]
    table["rare"] = (score + random.normal(size=rows) > 3.0).astype(int)
    table["rarer"] = (score - x[:, 2] + random.normal(size=rows) > 3.6).astype(int)
    return table


@pytest.fixture(scope="session")
def table_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "clinic.csv"
    draw_table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def data() -> TrainingData:
    """300 train and 200 validation rows, 5 features, 3 labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 5, generator=generator)
    noise = torch.randn(500, 3, generator=generator)
    y = (x[:, :3] * 1.5 + noise > 2.2).float()
    fold = FoldData(
        x_train=Shape.pad_inputs(x[:300]),
        y_train=Shape.pad_targets(y[:300]),
        x_validation=Shape.pad_inputs(x[300:]),
        y_validation=y[300:].contiguous(),
        places=torch.arange(200),
        features=5,
    )
    return TrainingData(
        folds=(fold,),
        y_validation=fold.y_validation,
        cross_fold=torch.arange(200) % 5,
        groups=None,
        labels=("one", "two", "three"),
    )


@pytest.fixture(scope="session")
def fold(data) -> FoldData:
    """The only fold of `data`."""
    return data.folds[0]


@pytest.fixture
def here(monkeypatch, capsys):
    """Run the command in this process: for errors, where a second of imports each is too much."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["raretune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for as long as the tests of a module run."""
    yield from launched()


@pytest.fixture
def open_page(browser):
    """Open an address as tests/browser.py:visit does; its window is closed after the test."""
    opened = []

    def run(address, **window):
        opened.append(visit(browser, address, **window))
        return opened[-1]

    yield run
    for seen in opened:
        seen.page.close()


@pytest.fixture(scope="module")
def searched_session(table_csv, tmp_path_factory):
    """Return what searches the shared table, in a workspace of its own, and returns the session."""

    def search(name, **settings):
        table = {
            "csv": table_csv,
            "labels": ["rare", "rarer"],
            "group": "family",
            "id": ["person"],
        }
        given = {"name": name, "table": table, "split": {"folds": 1}, **settings}
        definition = load_definition("default", given)
        session = prepare(definition, Workspace(tmp_path_factory.mktemp("runs")), None, "cpu")
        begin(session)
        search_study(session, should_stop=lambda: False, on_progress=lambda progress: None)
        return session

    return search


@pytest.fixture(scope="module")
def session(searched_session):
    """A searched study of 14 quick trials, so that the guide is not among the best."""
    return searched_session(
        "quick_one",
        budget={"trials": 14},
        training={"epochs": 3},
        pruner="none",
        space={"batch_size": [64], "hidden_dim": [16]},
    )


@pytest.fixture(scope="module")
def exported(searched_session):
    """A searched study whose best trial is in best/."""
    session = searched_session(
        "clinic",
        budget={"trials": 4},
        training={"epochs": 2},
        pruner="none",
        space={"batch_size": [64], "hidden_dim": [16]},
    )
    study = load_study(open_storage(session.url), "clinic")
    export_best(session, study, Shelf(study, session.shelf_folder))
    return session, study
