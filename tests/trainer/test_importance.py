import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score

from trainer import importance
from trainer.data.features import fit_features
from trainer.data.table import Roles, read_table
from trainer.importance import inputs_of_columns, permutation_importance
from trainer.stack.model import Shape, initial_parameters, layers_of
from trainer.steps.inference import predict_probabilities

SHAPES = [Shape(9, 3, 16, 2), Shape(9, 3, 32, 1), Shape(9, 3, 16, 0)]
INPUTS = {"one": [0], "several": [1, 5, 8], "two": [2, 3], "rest": [4, 6, 7]}


def network(shape, rows=400, seed=0):
    """Parameters (1, P), inputs (rows, D padded) and labels (rows, L) that follow the network."""
    generator = torch.Generator().manual_seed(seed)
    flat = 3 * initial_parameters(shape, [generator])
    x = Shape.pad_inputs(torch.randn(rows, shape.features, generator=generator))
    p = predict_probabilities(flat, shape, x)[0]
    y = (p + 0.3 * torch.rand(p.shape, generator=generator) > p.mean(dim=0) + 0.4).float()
    return flat, x, y


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drop_is_that_of_predicting_the_shuffled_table(shape):
    """By scikit-learn, with the same orders of the rows."""
    flat, x, y = network(shape)
    found = permutation_importance(flat, shape, x, y, INPUTS, repeats=3, seed=5)
    generator = torch.Generator().manual_seed(5)
    orders = [torch.randperm(len(x), generator=generator) for _ in range(3)]

    def precision(inputs):
        p = predict_probabilities(flat, shape, inputs)[0]
        return average_precision_score(y.numpy(), p.numpy(), average=None)

    whole = precision(x)
    for column, drop, spread in zip(found.columns, found.drop, found.spread, strict=True):
        drops = []
        for order in orders:
            shuffled = x.clone()
            shuffled[:, INPUTS[column]] = x[order][:, INPUTS[column]]
            drops.append(whole - precision(shuffled))
        assert drop.numpy() == pytest.approx(np.mean(drops, axis=0), abs=1e-4)
        assert spread.numpy() == pytest.approx(np.std(drops, axis=0, ddof=1), abs=1e-4)
    assert found.drop.max() > 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_a_column_that_the_network_ignores_drops_exactly_nothing(shape):
    flat, x, y = network(shape)
    layers_of(flat, shape)[0][0][:, INPUTS["several"]] = 0.0
    found = permutation_importance(flat, shape, x, y, INPUTS)
    ignored = found.columns.index("several")
    assert (found.drop[ignored] == 0).all()
    assert (found.spread[ignored] == 0).all()
    assert (found.drop[found.columns.index("rest")] != 0).all()


def test_the_other_columns_and_their_order_change_nothing():
    flat, x, y = network(SHAPES[0])
    every = permutation_importance(flat, SHAPES[0], x, y, INPUTS)
    alone = permutation_importance(flat, SHAPES[0], x, y, {"two": [2, 3]})
    assert torch.equal(alone.drop[0], every.drop[every.columns.index("two")])


def test_a_label_without_positives_drops_nothing():
    flat, x, y = network(SHAPES[0])
    y[:, 1] = 0
    found = permutation_importance(flat, SHAPES[0], x, y, INPUTS)
    assert (found.drop[:, 1] == 0).all()


def test_a_sample_of_many_rows_holds_each_labels_share_of_positives(monkeypatch):
    monkeypatch.setattr(importance, "MOST_ROWS", 1000)
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(7000, 3, generator=generator) < torch.tensor([0.3, 0.05, 0.01])).float()
    rows = importance._representative(y, 1000)
    assert len(rows) == len(set(rows.tolist())) == 1000
    assert y[rows].mean(dim=0).numpy() == pytest.approx(y.mean(dim=0).numpy(), abs=0.003)
    flat, x, _ = network(SHAPES[0], rows=7000)
    sampled = permutation_importance(flat, SHAPES[0], x, y, INPUTS)
    given = permutation_importance(flat, SHAPES[0], x[rows], y[rows], INPUTS)
    assert torch.equal(sampled.drop, given.drop)


@pytest.mark.parametrize("column", ["a", "c", "site", "digits"])
def test_the_inputs_of_a_column_are_those_that_its_shuffling_changes(column, table_csv, tmp_path):
    frame = pd.read_csv(table_csv)
    random = np.random.default_rng(0)
    frame["digits"] = ["".join(random.choice(list("012"), 12)) for _ in frame.index]
    frame.loc[:40, "site"] = None
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    roles = Roles(("rare", "rarer"), group="family", sequence="digits", id=("person",))
    table = read_table(path, roles)
    features = fit_features(table, np.arange(len(frame)))
    shuffled = table.columns.copy()
    shuffled[column] = shuffled[column].to_numpy()[random.permutation(len(frame))]
    changed = features.transform(shuffled) != features.transform(table.columns)
    inputs = inputs_of_columns(features)
    assert np.flatnonzero(changed.any(axis=0)).tolist() == inputs[column]
    assert sorted(i for of in inputs.values() for i in of) == list(range(len(features.names)))
