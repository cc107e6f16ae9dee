"""Attributes from outside: whatever was changed in one, a study is read or refused in one line."""

import copy

import optuna
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from study_case import make_study

from search.reopen import stored_definition
from search.store.attributes import CONFIRMED, DEFINITION, FINGERPRINT, LABELS, SIGNS, STACK
from search.store.records import complete, read_fingerprint, read_study, summarise_choices
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
