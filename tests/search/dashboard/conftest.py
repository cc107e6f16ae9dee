import pytest
from optuna.trial import create_trial
from served import FLAT, NESTED

from search.store.attributes import DEFINITION
from search.store.storage import default_url, open_storage, open_study
from studies.definition import load_definition


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with one study of one trial."""
    workspace = tmp_path_factory.mktemp("runs")
    study = open_study(open_storage(default_url(workspace)), "clinic", {})
    study.add_trial(create_trial(value=0.25, user_attrs={**NESTED, **FLAT}))
    table = {"csv": "clinic.csv", "labels": ["rare"]}
    definition = load_definition("default", {"name": "clinic", "table": table})
    study.set_user_attr(DEFINITION, definition.model_dump(mode="json"))
    return workspace
