"""Attributes from outside: whatever was changed in one, a study is read or refused in one line."""

import copy
import json
import uuid
from pathlib import Path

import optuna
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from study_case import make_evidence, make_study

from search.evidence.evidence import Evidence, store, stored
from search.reopen import stored_definition
from search.store.artifacts import Shelf
from search.store.attributes import (
    ARTIFACTS,
    CONFIRMED,
    DEFINITION,
    EVIDENCE,
    FINGERPRINT,
    LABELS,
    SIGNS,
    STACK,
)
from search.store.records import complete, read_fingerprint, read_study, summarise_choices
from search.store.transactions import study_attributes
from studies.definition import StudyDefinition
from trainer.errors import ConfigError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "folds", "f1", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def attributes():
    """All that a small study and one of its trials hold, as a search leaves it."""
    study = make_study(trials=4)
    written = StudyDefinition.model_validate(study.user_attrs[DEFINITION])
    settled = written.split.model_copy(update={"folds": 5})
    definition = written.model_copy(update={"split": settled})
    confirmed = {"number": 1, "searched": 0.2, "values": [0.1], "mean": 0.1, "spread": 0.0}
    of_study = {
        DEFINITION: definition.model_dump(mode="json"),
        FINGERPRINT: definition.fingerprint("ab" * 32),
        CONFIRMED: [confirmed],
    }
    sign = {"name": "overfitting", "words": "it does", "remedies": ["--dropout 0.5"]}
    of_trial = {
        **study.trials[3].user_attrs,
        **{SIGNS: [sign], STACK: [1, 2], LABELS: {"rare": {"threshold": 0.5}}},
    }
    return of_study, of_trial


def places(content, path=()):
    yield path
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*path, key))


def study_of(of_study, of_trial):
    study = optuna.create_study(direction="maximize")
    for key, value in of_study.items():
        study.set_user_attr(key, value)
    trial = optuna.trial.create_trial(value=0.5, user_attrs=of_trial)
    study.add_trial(trial)
    return study


def read(study):
    """Read all that there is to read; the line that refuses it, or "" if nothing does."""
    try:
        found = read_study(study)
        summarise_choices(complete(found.trials))
        assert isinstance(found.objective, str)
        stored_definition(study)
        read_fingerprint(study)
    except ConfigError as error:
        return str(error)
    return ""


def test_what_a_search_leaves_is_read(attributes):
    assert read(study_of(*attributes)) == ""


@seed(13)
@settings(max_examples=300, deadline=None, database=None)
@given(data=st.data())
def test_any_changed_attribute_is_read_or_refused_in_one_line(attributes, data):
    parts = copy.deepcopy(attributes)
    part = data.draw(st.sampled_from(parts))
    path = data.draw(st.sampled_from([path for path in places(part) if path]))
    inner = part
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(VALUES)
    line = read(study_of(*parts))
    assert "\n" not in line
    assert len(line) < 1000


LISTS = st.sampled_from(["artifact_id", "filename", "mimetype", "encoding", "more"])
META = {
    "artifact_id": "071cf7fe-9320-4532-ba72-3b548bcd77c8",
    "filename": "checkpoint.json",
    "mimetype": "application/json",
    "encoding": None,
}


@seed(13)
@settings(max_examples=150, deadline=None, database=None)
@given(
    name=st.sampled_from(["0:x", "0", "x:y", "-1:x", ":", "0:x:y"]),
    key=LISTS,
    value=VALUES | st.sampled_from(["../studies.db", "/etc/passwd", "model.safetensors"]),
    whole=VALUES | st.none(),
    as_text=st.booleans(),
)
def test_any_list_of_artifacts_is_read_and_leads_nowhere_else(name, key, value, whole, as_text):
    study = study_of({}, {})
    meta = {**META, key: value} if whole is None else whole
    content = json.dumps(meta) if as_text else meta
    study._storage.set_study_system_attr(study._study_id, f"{ARTIFACTS}{name}", content)
    shelf = Shelf(study, Path("nowhere"))
    for _, found in shelf._listed():
        assert uuid.UUID(found.artifact_id)
    assert shelf.fetch(study.trials[0]) is None
    assert shelf.fetch_held_out(study.trials[0]) is None


@seed(13)
@settings(max_examples=60, deadline=None, database=None)
@given(data=st.data())
def test_any_changed_piece_of_evidence_is_read_or_made_anew(data):
    study = study_of({}, {})
    store(study, make_evidence(trial=0))
    pieces = {
        name: copy.deepcopy(value)
        for name, value in study_attributes(study).items()
        if name.startswith(EVIDENCE)
    }
    assert stored(study, 0) is not None
    name = data.draw(st.sampled_from(sorted(pieces)))
    path = data.draw(st.sampled_from(list(places(pieces[name]))[:60]))
    inner, keys = pieces, (name, *path)
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = data.draw(VALUES)
    study._storage.set_study_system_attr(study._study_id, name, pieces[name])
    found = stored(study, 0)
    assert found is None or isinstance(found, Evidence)
