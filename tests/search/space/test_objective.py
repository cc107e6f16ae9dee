import pytest
from training_case import with_tensors

from search.space.objective import value_of, values_of
from studies.definition import OBJECTIVES
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.loop.fit import fit

CONFIGS = [TrainConfig.create(epochs=3, hidden_dim=16, lr=lr, seed=1) for lr in (1e-2, 1e-3)]


@pytest.fixture(scope="module")
def trained(data):
    reports = []
    results = fit(data, CONFIGS, lambda report: (reports.append(report), [True, True])[1])
    return reports, results


@pytest.mark.parametrize("objective", [*OBJECTIVES, "f1:one", "f1:three"])
def test_a_result_is_worth_what_its_best_epoch_reported(objective, trained, data):
    reports, results = trained
    for member, result in enumerate(results):
        reported = values_of(reports[result.best_epoch - 1], objective, data.labels)
        assert value_of(result, objective) == reported[member]


def test_the_f1_of_all_labels_average_to_macro_f1(trained, data):
    report = trained[0][-1]
    by_label = [values_of(report, f"f1:{label}", data.labels) for label in data.labels]
    means = [sum(member) / 3 for member in zip(*by_label, strict=True)]
    assert means == pytest.approx(values_of(report, "macro_f1", data.labels))


def test_a_label_that_the_table_lacks_is_refused(trained, data):
    with pytest.raises(ConfigError, match=r"'f1:four' names no label.*one, two, three"):
        values_of(trained[0][0], "f1:four", data.labels)


def test_a_result_without_a_finite_epoch_is_worth_nothing(data):
    x = data.folds[0].x_train * float("nan")
    result = fit(with_tensors(data, x_train=x), CONFIGS[:1])[0]
    assert value_of(result, "macro_f1") != value_of(result, "macro_f1")
