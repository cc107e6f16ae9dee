import pytest
import torch

from search.session import Session, begin, search_study
from studies.definition import load_definition
from trainer.experiment import SplitSettings, prepare_experiment
from trainer.table import Roles


@pytest.fixture(scope="module")
def searched_session(table_csv, tmp_path_factory):
    """Return what searches the shared table, in a workspace of its own, and returns the session."""

    def search(name, **settings):
        workspace = tmp_path_factory.mktemp("runs")
        roles = Roles(("rare", "rarer"), group="family", id=("person",))
        experiment = prepare_experiment(
            table_csv, roles, SplitSettings(0.2, 0.2, 0), torch.device("cpu")
        )
        table = {"csv": table_csv, "labels": list(roles.labels), "group": "family"}
        definition = load_definition("default", {"name": name, "table": table, **settings})
        session = Session(definition, experiment, workspace, f"sqlite:///{workspace}/studies.db")
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
