import optuna
import pytest
from optuna.trial import TrialState

from search.fork import fork
from search.space.strategy import make_pruner, make_sampler
from search.store.identity import identity_of
from search.store.records import complete, read_records
from search.store.storage import open_storage, open_study
from search.waves.optimize import Search
from studies.definition import load_definition
from trainer.errors import ConfigError


def define(**overrides):
    quick = {
        "name": "old",
        "stack": 4,
        "budget": {"trials": 20},
        "training": {"epochs": 6, "early_stop_patience": 5},
        "space": {"batch_size": [64, 128], "hidden_dim": [16, 32]},
    }
    split = {"folds": 1, **overrides.pop("split", {})}
    return load_definition("default", {**quick, **overrides, "split": split})


def narrow():
    lr = {"low": 4e-4, "high": 1e-2, "log": True}
    return define(name="new", space={"batch_size": [64, 128], "hidden_dim": [16, 32], "lr": lr})


def make(definition, storage=None):
    study = open_study(
        storage or open_storage("memory"),
        definition.name,
        definition.fingerprint("hash"),
        pruner=make_pruner(definition),
    )
    study.sampler = make_sampler(definition, len(study.trials))
    return study


@pytest.fixture(scope="module")
def old(data):
    study = make(define())
    Search(study, data, define()).run()
    study.tell(study.ask(), state=TrialState.FAIL)
    return study


def test_trials_that_fit_the_new_space_come_along_with_all_they_hold(old):
    new = make(narrow())
    expected = [t for t in old.trials[:-1] if t.params["lr"] >= 4e-4]
    assert {t.state for t in expected} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert fork(old, new, narrow()) == len(expected) < 20
    for before, after in zip(expected, new.trials, strict=True):
        origin = {"forked_from": f"old/{before.number}"}
        assert (after.state, after.values, after.params) == (
            before.state,
            before.values,
            before.params,
        )
        assert after.user_attrs == before.user_attrs | origin
        assert after.intermediate_values == before.intermediate_values
        assert after.distributions["lr"].low == 4e-4
    best_before = max(t.value for t in expected if t.value is not None)
    assert complete(read_records(new))[0].value == best_before


def test_a_fork_goes_on_to_the_total_and_forking_again_adds_nothing(old, data):
    new = make(narrow())
    imported = fork(old, new, narrow())
    Search(new, data, narrow()).run()
    assert len(new.trials) == 20 > imported
    assert fork(old, new, narrow()) == 0
    recipes = [t.user_attrs["recipe"] for t in new.trials if "recipe" in t.user_attrs]
    assert sorted(recipes) == ["plain BCE", "the guide", "the guide, escalated"]


@pytest.mark.parametrize("space", [{"label_smoothing": [0.0, 0.1]}, {"lr": [0.5]}])
def test_a_parameter_more_or_a_value_outside_is_another_trial(old, space):
    definition = define(name="new", space={**define().model_dump()["space"], **space})
    assert fork(old, make(definition), definition) == 0


def test_a_trial_with_a_parameter_that_is_searched_no_longer_does_not_fit(old):
    """Its value was another configuration's; the space alone would not show it."""
    definition = define(name="new")
    space = {key: value for key, value in definition.space.items() if key != "dropout"}
    definition = definition.model_copy(update={"space": space})
    assert fork(old, make(definition), definition) == 0


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"objective": "macro_recall"}, 'objective: "macro_f1" -> "macro_recall"'),
        ({"split": {"val_size": 0.3}}, "split.val_size: 0.2 -> 0.3"),
        ({"training": {"epochs": 9, "early_stop_patience": 5}}, "training.epochs: 6 -> 9"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"table": {"labels": ["y"]}}, "table.labels"),
    ],
)
def test_where_more_than_the_space_differs_nothing_is_imported(old, change, difference):
    definition = define(name="new", **change)
    new = make(definition)
    with pytest.raises(ConfigError, match=f"only the space may differ.*{difference}.*--fork"):
        fork(old, new, definition)
    assert not new.trials


def test_a_study_of_another_program_is_refused(old):
    with pytest.raises(ConfigError, match="not made by raretune"):
        fork(optuna.create_study(direction="maximize"), old, define())


def test_another_study_of_the_same_name_is_imported_too(old, data):
    """A study was removed, and the next one has its name: its trials are not those of before."""
    new, again = make(narrow()), make(define(name="old"))
    imported = fork(old, new, narrow())
    again.add_trials([t for t in old.trials if t.state.is_finished()])
    assert identity_of(again) != identity_of(old)
    assert fork(again, new, narrow()) == imported
    assert fork(again, new, narrow()) == fork(old, new, narrow()) == 0


def test_what_an_earlier_version_imported_is_not_imported_again(old):
    new, first = make(narrow()), make(narrow())
    fork(old, first, narrow())
    imported = first.trials
    for trial in imported:
        trial.system_attrs.clear()
    new.add_trials(imported)
    assert not any(t.system_attrs for t in new.trials)
    assert fork(old, new, narrow()) == 0
