import math

import optuna
import pytest
import torch
from optuna.trial import TrialState
from training_case import with_tensors

from search.space.space import distributions
from search.space.strategy import make_pruner, make_sampler
from search.store.attributes import FAILURE, RECIPE
from search.store.records import read_records
from search.store.stale import reap
from search.store.storage import default_url, open_storage, open_study
from search.waves.optimize import Search, enqueue_recipes
from search.waves.progress import MAX_FAILURES
from studies.definition import load_definition
from trainer.loop.fit import fit
from trainer.steps.compiler import build


def define(**overrides):
    quick = {
        "name": "study",
        "stack": 4,
        "budget": {"trials": 10},
        "training": {"epochs": 7, "early_stop_patience": 5},
        "space": {"batch_size": [64, 128], "hidden_dim": [16, 32]},
        "split": {"folds": 1},
    }
    return load_definition("default", {**quick, **overrides})


def make_study(definition, url="memory"):
    storage = open_storage(url)
    study = open_study(
        storage, definition.name, definition.fingerprint("hash"), pruner=make_pruner(definition)
    )
    study.sampler = make_sampler(definition, len(study.trials))
    return study


def summary(study):
    return [(t.number, t.state, t.params, t.values, t.intermediate_values) for t in study.trials]


@pytest.fixture
def in_torch(monkeypatch):
    """Search as where there is no compiler."""
    monkeypatch.setattr("trainer.steps.epoch.library", lambda: None)
    monkeypatch.setattr("trainer.steps.in_c.library", lambda: None)


@pytest.fixture(scope="module")
def searched(data):
    study = make_study(define())
    progress = Search(study, data, define()).run()
    return study, progress


def test_every_trial_ends_and_is_counted(searched):
    study, progress = searched
    assert progress.done == len(study.trials) == 10
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert progress.complete == sum(t.state == TrialState.COMPLETE for t in study.trials)
    assert progress.best_value == study.best_value


def test_the_known_recipes_come_first_and_are_never_pruned(searched):
    records = read_records(searched[0])
    recipes = ["plain BCE", "the guide", "the guide, escalated"]
    assert [r.recipe for r in records[:4]] == [*recipes, None]
    assert {r.state for r in records[:3]} == {"complete"}
    assert records[0].config["loss_type"] == "bce"
    assert records[1].config["loss_type"] == "focal"


AGGRESSIVE = {
    "loss_type": ["focal", "weighted_bce"],
    "weight_method": ["per_class", "aggressive"],
    "class_weight_method": ["inverse", "aggressive", "very_aggressive"],
    "batch_size": [32, 64],
    "hidden_dim": [16, 128],
}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "qmc"])
def test_plain_bce_is_trial_0_in_a_space_without_it_and_no_sampler_takes_it_for_a_choice(
    data, sampler, tmp_path
):
    definition = define(space=AGGRESSIVE, sampler=sampler, budget={"trials": 24})
    study = make_study(definition, default_url(tmp_path))
    progress = Search(study, data, definition).run()
    assert progress.done == len(study.trials) == 24
    baseline, *others = study.trials
    remedies = {"loss_type", "weight_method", "class_weight_method"}
    assert baseline.state == TrialState.COMPLETE
    assert baseline.user_attrs["recipe"] == "plain BCE"
    assert baseline.params.keys() == definition.space.keys() - remedies
    config = baseline.user_attrs["config"]
    assert (config["loss_type"], config["weight_method"]) == ("bce", "none")
    for trial in others:
        assert trial.params.keys() == definition.space.keys()
        assert all(trial.params[key] in AGGRESSIVE[key] for key in remedies)
        assert trial.params.items() <= trial.user_attrs["config"].items()
    assert {t.params["loss_type"] for t in others} == {"focal", "weighted_bce"}


def test_a_space_without_plain_bce_is_searched_the_same_each_time(data):
    definition = define(space=AGGRESSIVE, budget={"trials": 12})
    studies = [make_study(definition) for _ in range(2)]
    for study in studies:
        Search(study, data, definition).run()
    assert summary(studies[0]) == summary(studies[1])


def test_a_baseline_that_is_lost_is_tried_again_as_plain_bce(data):
    definition = define(space=AGGRESSIVE, budget={"trials": 6})
    study = make_study(definition)
    enqueue_recipes(study, definition)
    study.ask({key: space for key, space in distributions(definition).items() if key == "lr"})
    reap(study, alone=True)
    Search(study, data, definition).run()
    (again,) = [t for t in study.trials if t.user_attrs.get("retry_of") == 0]
    assert again.user_attrs["config"]["loss_type"] == "bce"
    assert "loss_type" not in again.params


def shapes_side_by_side(study):
    """How many shapes trained beside each trial, itself among them."""
    shape, counts = ("batch_size", "hidden_dim", "num_layers"), []
    for trial in study.trials:
        neighbours = [study.trials[number] for number in trial.user_attrs["stack"]]
        assert trial in neighbours
        counts.append(len({tuple(n.params[key] for key in shape) for n in neighbours}))
    return counts


def test_in_torch_trials_that_train_side_by_side_share_a_shape(data, in_torch):
    study = make_study(define())
    Search(study, data, define()).run()
    assert set(shapes_side_by_side(study)) == {1}


@pytest.mark.skipif(build().library is None, reason=build().how)
def test_in_c_trials_of_all_shapes_train_side_by_side(searched):
    assert max(shapes_side_by_side(searched[0])) > 1


def test_the_value_is_the_objective_at_the_best_epoch(searched):
    for trial in searched[0].trials:
        if trial.state == TrialState.COMPLETE:
            scores = trial.user_attrs["scores"]
            assert trial.value == scores["macro_f1"]
            assert trial.value == trial.intermediate_values[trial.user_attrs["best_epoch"]]


def test_every_trained_trial_can_be_sorted_by_what_its_best_epoch_came_to(searched):
    for trial in searched[0].trials:
        attributes, scores = trial.user_attrs, trial.user_attrs["scores"]
        assert attributes["macro_f1"] == trial.intermediate_values[attributes["best_epoch"]]
        assert attributes["average_precision"] == scores["average_precision"]
        assert attributes["recall"] == scores["macro_recall"]
        labels = attributes["labels"]
        assert list(labels) == ["one", "two", "three"]
        for key, mean in (("f1", "macro_f1"), ("recall", "recall"), ("predicted_share",) * 2):
            shown = [label[key] for label in labels.values()]
            assert sum(shown) / 3 == pytest.approx(attributes[mean], rel=1e-5)
        assert attributes["diagnosis"] == "; ".join(s["name"] for s in attributes["signs"])


def test_a_run_gone_wrong_is_diagnosed_with_its_remedies(data):
    x = data.folds[0].x_train.clone()
    x[:, 0] = math.inf
    study = make_study(define(budget={"trials": 4}))
    Search(study, with_tensors(data, x_train=x), define(budget={"trials": 4})).run()
    for trial in study.trials:
        assert trial.user_attrs["diagnosis"] == "non_finite"
        assert "not finite in epoch 1" in trial.user_attrs["signs"][0]["words"]
        assert any("--lr" in flags for flags in trial.user_attrs["signs"][0]["remedies"])
        assert "macro_f1" not in trial.user_attrs


def test_a_study_is_a_function_of_its_definition_and_seed(searched, data):
    again = make_study(define())
    Search(again, data, define()).run()
    assert summary(again) == summary(searched[0])
    other = make_study(define(seed=1))
    Search(other, data, define(seed=1)).run()
    assert summary(other) != summary(again)


def test_the_order_within_a_wave_changes_no_decision(searched, data, monkeypatch):
    ask = Search._ask_wave
    monkeypatch.setattr(Search, "_ask_wave", lambda self: ask(self)[::-1])
    permuted = make_study(define())
    Search(permuted, data, define()).run()
    assert summary(permuted) == summary(searched[0])


def test_weak_trials_are_pruned_after_reports_of_all(data):
    rates = {"low": 1e-7, "high": 1e-2, "log": True}
    definition = define(budget={"trials": 30}, space={"lr": rates})
    study = make_study(definition)
    progress = Search(study, data, definition).run()
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert len(pruned) == progress.pruned > 0
    assert all(t.user_attrs["stopped"] == "caller" for t in pruned)
    assert all(len(t.intermediate_values) < 7 for t in pruned)


def test_a_second_run_goes_on_to_the_total_with_fresh_draws(data, tmp_path):
    url = default_url(tmp_path)
    first = define(budget={"trials": 6})
    Search(make_study(first, url), data, first).run()
    study = make_study(define(), url)
    Search(study, data, define()).run()
    assert len(study.trials) == 10
    lrs = [t.params["lr"] for t in study.trials]
    assert len(set(lrs[3:])) == 7
    Search(make_study(define(), url), data, define()).run()
    assert len(study.trials) == 10


def test_a_stop_tells_every_running_trial_with_what_it_has(data, in_torch):
    epochs = []
    definition = define(stack=3, space={"batch_size": [16, 32]})
    study = make_study(definition)
    search = Search(
        study,
        data,
        definition,
        should_stop=lambda: epochs[-1] >= 4,  # two epochs of two members
        on_progress=lambda progress: epochs.append(progress.model_epochs),
    )
    progress = search.run()
    states = [t.state for t in study.trials]
    assert TrialState.RUNNING not in states
    assert progress.complete == 2
    assert [t.user_attrs["epochs"] for t in study.trials[:2]] == [2, 2]
    assert study.trials[2].state == TrialState.FAIL  # the escalated guide was asked, never begun


def test_a_diverged_trial_fails_with_its_reason_and_the_search_goes_on(data):
    x = data.folds[0].x_train.clone()
    x[:, 0] = math.inf
    study = make_study(define(budget={"trials": 4}))
    progress = Search(study, with_tensors(data, x_train=x), define(budget={"trials": 4})).run()
    assert progress.failed == 4
    assert all("not finite in epoch 1" in t.user_attrs["failure"] for t in study.trials)


def test_progress_shows_each_member_from_its_first_epoch_on_and_none_at_the_end(data):
    seen = []
    definition = define()
    study = make_study(definition)
    Search(study, data, definition, on_progress=lambda p: seen.append(p.frozen())).run()
    assert (seen[0].done, seen[0].running) == (0, {})
    assert (seen[-1].done, seen[-1].running) == (10, {})
    trained = set()
    for progress in seen:
        assert progress.configs.keys() == progress.peaks.keys() == progress.running.keys()
        for number, (epoch, value) in progress.running.items():
            values = study.trials[number].intermediate_values
            config = study.trials[number].user_attrs["config"]
            assert progress.configs[number] == config
            if epoch:
                trained.add(number)
                assert value == values[epoch]
                assert progress.peaks[number] == max(values[e] for e in range(1, epoch + 1))
    assert trained == set(range(10))


def test_results_are_handed_over_as_trials_complete(data):
    seen = {}
    study = make_study(define())
    Search(
        study, data, define(), on_result=lambda number, value, result: seen.update({number: value})
    ).run()
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert seen == {t.number: t.value for t in complete}


def test_a_study_that_lacks_a_recipe_gets_it():
    """As a fork of a study whose recipes don't fit the new space."""
    study = make_study(define())
    study.enqueue_trial({}, user_attrs={"recipe": "the guide"})
    enqueue_recipes(study, define())
    enqueue_recipes(study, define())
    recipes = [trial.user_attrs["recipe"] for trial in study.trials]
    assert recipes == ["the guide", "plain BCE", "the guide, escalated"]


def test_a_label_of_its_own_is_maximised_where_the_objective_names_it(data):
    definition = define(objective="f1:two", budget={"trials": 4})
    study = make_study(definition)
    found = {}
    Search(
        study, data, definition, on_result=lambda n, value, result: found.update({n: result})
    ).run()
    for trial in study.trials:
        result = found[trial.number]
        assert trial.value == result.evaluation.labels["two"].f1
        assert trial.value == trial.intermediate_values[result.best_epoch]


def test_a_run_of_failures_stops_the_search_with_the_reason(data):
    x = data.folds[0].x_train.clone()
    x[:, 0] = math.inf
    definition = define(budget={"trials": 100})
    study = make_study(definition)
    progress = Search(study, with_tensors(data, x_train=x), definition).run()
    assert "not finite in epoch 1" in progress.gave_up
    assert MAX_FAILURES <= progress.failed < 20


def out_of_memory_above(members):
    """Return a fit that has memory for so many members only, as torch tells it."""

    def limited(data, configs, *callbacks, refill, **more):
        if len(configs) > members:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return fit(data, configs, *callbacks, refill=lambda free: [], **more)

    return limited


def test_out_of_memory_halves_the_stack_until_its_members_fit(data, monkeypatch):
    monkeypatch.setattr("search.waves.wave.fit", out_of_memory_above(2))
    definition = define(budget={"trials": 8})
    study = make_study(definition)
    progress = Search(study, data, definition).run()
    assert progress.failed == 0
    assert progress.done == 8
    assert max(len(t.user_attrs["stack"]) for t in study.trials) == 2


def test_a_member_without_memory_even_alone_fails_with_its_reason(data, monkeypatch):
    monkeypatch.setattr("search.waves.wave.fit", out_of_memory_above(0))
    definition = define(budget={"trials": 3})
    study = make_study(definition)
    progress = Search(study, data, definition).run()
    assert progress.failed == 3
    assert all("out of memory" in t.user_attrs["failure"] for t in study.trials)


def test_trials_held_back_by_a_stop_are_queued_again(data):
    definition = define(stack=3, space={"batch_size": [16, 32]})
    study = make_study(definition)
    Search(study, data, definition, should_stop=lambda: len(study.trials) >= 3).run()
    Search(study, data, definition).run()
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert "the guide, escalated" in {t.user_attrs.get("recipe") for t in complete}


@pytest.mark.parametrize("ends", ["lost", "failed"])
def test_a_recipe_that_was_lost_twice_is_asked_again_and_one_that_failed_is_not(ends):
    study = optuna.create_study(direction="maximize")
    definition = load_definition("default", {"name": "s"})
    enqueue_recipes(study, definition)
    recipes = len(study.trials)
    trial = study.ask()
    if ends == "lost":
        reap(study, alone=True)
        for _ in range(recipes):  # the retry is the last of the queue
            again = study.ask()
        assert again.user_attrs[RECIPE] == trial.user_attrs[RECIPE]
        reap(study, alone=True)
    else:
        trial.set_user_attr(FAILURE, "too large")
        study.tell(trial, state=TrialState.FAIL)
    before = len(study.trials)
    enqueue_recipes(study, definition)
    new = [one.user_attrs[RECIPE] for one in study.trials[before:]]
    assert new == ([trial.user_attrs[RECIPE]] if ends == "lost" else [])
