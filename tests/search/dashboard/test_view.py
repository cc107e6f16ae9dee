"""optuna-dashboard's page of a large study: what it shows, and how long that takes."""

import json
import time

import optuna
import pytest
from served import FLAT, NESTED, fetched
from study_case import make_study

from search.dashboard import serve
from search.dashboard.notes import annotate
from search.dashboard.view import readable
from search.store.attributes import ARTIFACTS, DEFINITION, IDENTITY, note_of_trial
from search.store.storage import default_url, open_storage
from search.workspace import Workspace

pytest.importorskip(
    "optuna_dashboard", reason='optuna-dashboard is missing: pip install -e ".[dashboard]"'
)
TRIALS = 2000
SECONDS = 3.0


def test_only_what_is_shown_loses_nested_attributes(workspace):
    storage = optuna.storages.get_storage(open_storage(default_url(workspace)))
    shown = readable(optuna.storages.get_storage(open_storage(default_url(workspace))))
    assert shown.get_all_trials(1, deepcopy=False)[0].user_attrs == FLAT
    assert shown.get_all_studies()[0].user_attrs.keys() == {IDENTITY}
    assert storage.get_all_trials(1)[0].user_attrs == {**NESTED, **FLAT}
    assert DEFINITION in storage.get_all_studies()[0].user_attrs


def test_the_page_of_a_large_study_is_there_in_a_moment_with_all_notes(tmp_path):
    """Twice the trials took four times as long: each looked at the notes of all."""
    study = make_study(TRIALS, epochs=2)
    annotate(study, tmp_path, Workspace(tmp_path).url)
    trial = study.trials[7]
    meta = {"artifact_id": "ab", "filename": "x", "mimetype": "text/plain", "encoding": None}
    key = f"{ARTIFACTS}{trial._trial_id}:ab"
    study._storage.set_study_system_attr(study._study_id, key, json.dumps(meta))
    app = serve._app(study._storage, tmp_path, "127.0.0.1")
    with serve._serving(app, "127.0.0.1", 0) as address:
        started = time.monotonic()
        page = json.loads(fetched(f"{address}/api/studies/{study._study_id}?after=0"))
        took = time.monotonic() - started
    assert took < SECONDS
    assert len(page["trials"]) == TRIALS
    attributes = study._storage.get_study_system_attrs(study._study_id)
    for one in page["trials"]:
        assert one["note"]["body"] == attributes[note_of_trial(one["trial_id"])[1]]
        assert len(one["artifacts"]) == (one["trial_id"] == trial._trial_id)
    assert page["trials"][7]["artifacts"] == [meta]
    assert "Sampler" in page["note"]["body"]
