import dataclasses
import math

import pytest
import torch
from training_case import with_tensors

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.loop.fit import fit
from trainer.scores.metrics import confusion
from trainer.stack.model import flat_parameters
from trainer.stack.stack import start_stack
from trainer.steps.compiler import build
from trainer.steps.inference import predict_probabilities


def config(seed=0, **values):
    defaults = {"batch_size": 32, "hidden_dim": 32, "epochs": 6, "lr": 3e-3}
    return TrainConfig.create(**{**defaults, **values}, seed=seed)


# Everything that may differ within a stack, differs.
STACK = [
    config(0),
    config(1, loss_type="focal", focal_gamma=3.0, class_weight_method="aggressive"),
    config(2, loss_type="weighted_bce", class_weight_method="inverse", dropout=0.0),
    config(3, weight_method="per_class", lr=1e-2),
    config(4, weight_method="balanced", dropout=0.5, weight_decay=0.05),
    config(5, label_smoothing=0.1, epochs=3),
    config(6, loss_type="focal", focal_gamma=0.5, early_stop_metric="average_precision"),
    config(7, early_stop_patience=1, lr=3e-2),
]


def assert_bitwise_equal(one, other):
    assert one.networks[0].keys() == other.networks[0].keys()
    for name, tensor in one.networks[0].items():
        assert torch.equal(tensor, other.networks[0][name]), name
    assert one.history == other.history
    assert one.thresholds == other.thresholds
    assert (one.best_epoch, one.stopped) == (other.best_epoch, other.stopped)
    assert one.evaluation == other.evaluation


@pytest.fixture
def in_torch(monkeypatch):
    monkeypatch.setattr("trainer.steps.epoch.compiled", lambda stack, data: None)


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_treated_as_before_once_training_is_over(data, before):
    smallest, during = torch.tensor(torch.finfo(torch.float32).tiny), []
    torch.set_flush_denormal(before)
    try:
        fit(data, [config(epochs=1)], lambda report: during.append(smallest / 2) or [True])
        assert bool(smallest / 2 == 0) == before
        assert during == [0]
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("position", range(8))
def test_member_trains_as_if_alone(data, position):
    """Neighbours in a stack must not change a member's result."""
    together, alone = fit(data, STACK)[position], fit(data, [STACK[position]])[0]
    assert_bitwise_equal(together, alone)


@pytest.mark.parametrize("position", range(8))
def test_member_trains_as_if_alone_in_torch_too(data, position, in_torch):
    together, alone = fit(data, STACK)[position], fit(data, [STACK[position]])[0]
    assert_bitwise_equal(together, alone)


@pytest.mark.parametrize(("batch_size", "hidden_dim"), [(16, 16), (64, 48), (16, 128)])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_the_contract_holds_for_other_multiples_of_16(data, batch_size, hidden_dim, num_layers):
    sizes = {"batch_size": batch_size, "hidden_dim": hidden_dim, "num_layers": num_layers}
    stack = [member.model_copy(update={**sizes, "epochs": 2}) for member in STACK]
    together, alone = fit(data, stack)[4], fit(data, [stack[4]])[0]
    assert_bitwise_equal(together, alone)


@pytest.mark.skipif(build().library is None, reason=build().how)
@pytest.mark.parametrize(("batch_size", "hidden_dim"), [(30, 21), (7, 100), (1, 16)])
def test_in_c_the_contract_holds_for_any_size(data, batch_size, hidden_dim):
    sizes = {"batch_size": batch_size, "hidden_dim": hidden_dim, "epochs": 2}
    stack = [member.model_copy(update=sizes) for member in STACK]
    assert_bitwise_equal(fit(data, stack)[4], fit(data, [stack[4]])[0])


def test_odd_batches_come_out_close_in_torch(data, in_torch):
    """The promise there is 0.005 of validated macro-F1."""
    stack = [member.model_copy(update={"batch_size": 30, "hidden_dim": 21}) for member in STACK]
    together = fit(data, stack)
    for member, whole in zip(stack, together, strict=True):
        alone = fit(data, [member])[0]
        assert alone.scores["macro_f1"] == pytest.approx(whole.scores["macro_f1"], abs=0.005)


def test_order_within_a_stack_changes_nothing(data):
    forwards, backwards = fit(data, STACK), fit(data, STACK[::-1])
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert_bitwise_equal(one, other)


def test_neighbours_that_leave_change_nothing(data):
    def dismiss(report):
        return [member == 2 or report.epochs[0] < member for member in report.runs]

    pruned = fit(data, STACK, dismiss)
    assert_bitwise_equal(pruned[2], fit(data, [STACK[2]])[0])
    assert [len(result.history) for result in pruned[:2]] == [1, 1]
    assert pruned[0].stopped == "caller"


def test_a_diverging_neighbour_changes_nothing(data):
    """Its loss turns nan, and 0 * nan would spread: a broken row is drawn by one member only."""
    negative = int((data.folds[0].y_train[:, :3].sum(1) == 0).nonzero()[0])
    x_train = data.folds[0].x_train.clone()
    x_train[negative, 0] = math.inf
    broken = with_tensors(data, x_train=x_train)
    drawer, spared = config(0), config(1, weight_method="per_class", epochs=3)
    together = fit(broken, [drawer, spared])
    assert together[0].stopped == "non_finite"
    assert together[1].stopped == "epochs"
    assert_bitwise_equal(together[1], fit(broken, [spared])[0])


def test_a_diverged_run_keeps_its_best_epoch_before(data):
    """Row 0 breaks after the first epoch, as a learning rate too high would."""
    x_train = data.folds[0].x_train.clone()
    broken = with_tensors(data, x_train=x_train)

    def break_data(report):
        x_train[0, 0] = math.inf
        return [True]

    result = fit(broken, [config(0)], break_data)[0]
    assert (result.stopped, result.best_epoch, len(result.history)) == ("non_finite", 1, 2)
    assert_bitwise_equal(
        dataclasses.replace(result, stopped="epochs", history=result.history[:1]),
        fit(data, [config(0, epochs=1)])[0],
    )


def test_reports_name_the_members_that_still_run(data):
    seen = []

    def watch(report):
        assert len(report.scores["macro_f1"]) == len(report.loss) == len(report.runs)
        seen.append((report.epochs, report.runs))
        return [True] * len(report.runs)

    fit(data, [config(0, epochs=1), config(1, epochs=3), config(2, epochs=2)], watch)
    assert seen == [((1, 1, 1), (0, 1, 2)), ((2, 2), (1, 2)), ((3,), (1,))]


def test_a_member_that_takes_a_free_place_trains_as_if_alone(data):
    waiting, told = [STACK[3], STACK[1], STACK[6]], []

    def refill(free):
        joining = waiting[:free]
        del waiting[:free]
        return joining

    first = [config(0, epochs=1), STACK[4], config(1, epochs=2)]
    results = fit(data, first, on_result=lambda m, result: told.append(m), refill=refill)
    assert len(results) == 6
    assert sorted(told) == list(range(6))
    assert told[0] == 0
    for result in results:
        assert_bitwise_equal(result, fit(data, [result.config])[0])
    assert [result.config for result in results[3:]] == [STACK[3], STACK[1], STACK[6]]


def test_members_of_other_shapes_train_beside_it_as_if_alone(data):
    shapes = [{}, {"batch_size": 16}, {"num_layers": 0}, {"hidden_dim": 48, "num_layers": 3}]
    mixed = [member.model_copy(update=shapes[i % 4]) for i, member in enumerate(STACK)]
    waiting, seen = [config(9, hidden_dim=64), config(10)], []

    def refill(free):
        joining = waiting[:free]
        del waiting[:free]
        return joining

    def watch(report):
        seen.append(set(report.runs))
        return [True] * len(report.runs)

    results = fit(data, mixed, watch, refill=refill)
    assert [result.config for result in results[8:]] == [config(9, hidden_dim=64), config(10)]
    assert seen[0] == set(range(8))
    for result in results:
        assert_bitwise_equal(result, fit(data, [result.config])[0])


def test_a_member_that_is_decided_otherwise_may_not_join(data):
    other = config(1, threshold_metric="f2")
    with pytest.raises(ConfigError, match="share optimize_thresholds"):
        fit(data, [config(0, epochs=1)], refill=lambda free: [other])


def test_the_best_epoch_is_kept_not_the_last(data):
    result = fit(data, [config(0, lr=3e-2, epochs=40, early_stop_patience=4)])[0]
    scores = [row["macro_f1"] for row in result.history]
    assert result.best_epoch == scores.index(max(scores)) + 1 < len(scores)
    assert result.scores["macro_f1"] == max(scores)
    assert result.stopped == "patience"
    assert len(scores) == result.best_epoch + 4


def test_kept_parameters_and_thresholds_give_the_scores_they_claim(data):
    result = fit(data, [STACK[1]])[0]
    shape = start_stack(data.folds[0], [STACK[1]]).shape
    probabilities = predict_probabilities(
        flat_parameters(result.networks[0], shape), shape, data.folds[0].x_validation
    )
    thresholds = torch.tensor([list(result.thresholds.values())])
    tuned = confusion(probabilities, data.y_validation, thresholds).f_beta().mean().item()
    assert tuned == result.scores["tuned_macro_f1"]


@pytest.mark.parametrize("metric", ["loss", "macro_recall", "roc_auc", "average_precision"])
def test_early_stopping_follows_the_metric_asked_for(data, metric):
    result = fit(data, [config(0, early_stop_metric=metric, lr=2e-2, epochs=8)])[0]
    column = "validation_loss" if metric == "loss" else metric
    scores = [row[column] * (-1 if metric == "loss" else 1) for row in result.history]
    assert result.best_epoch == scores.index(max(scores)) + 1


def test_without_optimised_thresholds_the_cut_is_one_half(data):
    result = fit(data, [config(0, optimize_thresholds=False, epochs=2)])[0]
    assert set(result.thresholds.values()) == {0.5}
    assert result.scores["macro_f1"] == result.scores["tuned_macro_f1"]


def test_members_that_are_decided_otherwise_are_refused(data):
    with pytest.raises(ConfigError, match="share optimize_thresholds"):
        fit(data, [config(0), config(1, optimize_thresholds=False)])
