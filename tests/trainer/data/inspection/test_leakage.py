import numpy as np
import pandas as pd
import pytest
from conftest import draw_table
from sklearn.metrics import roc_auc_score

from trainer.data.inspection.leakage import _roc_aucs, find_leaks
from trainer.data.split import split_rows
from trainer.data.table import Roles, read_table


def leaks(frame, tmp_path, *, roles=None, split=True):
    """Return (kind, columns) of each finding, and the sentences."""
    path = tmp_path / "clinic.csv"
    frame.to_csv(path, index=False)
    table = read_table(path, roles or Roles(("rare", "rarer"), "family", None, (), ("person",)))
    parts = None
    if split:
        parts = split_rows(
            table.labels,
            table.groups,
            label_names=table.roles.labels,
            val_size=0.2,
            test_size=0.2,
            seed=0,
        )
    found = find_leaks(table, parts)
    return [(leak.kind, leak.columns) for leak in found], [leak.sentence for leak in found], parts


def test_an_ordinary_table_has_none(tmp_path):
    assert leaks(draw_table(), tmp_path)[0] == []


def given_away(table):
    table["told after"] = table["rare"] * 9.0 + table["a"]
    table["copied"] = table["rarer"]
    table["turned"] = 1 - table["rare"]
    table["died_at"] = table["b"].where(table["rarer"] == 0)
    table["ill_since"] = table["b"].where(table["rare"] == 1)
    table["word"] = table["rare"].map({0: "well", 1: "ill"})


def test_columns_that_give_a_label_away_are_named_with_the_flag(tmp_path):
    table = draw_table()
    given_away(table)
    found, sentences, _ = leaks(table, tmp_path)
    assert found == [
        ("separates", ("told after", "rare")),
        ("copy", ("copied", "rarer")),
        ("copy", ("turned", "rare")),
        ("missing", ("died_at", "rarer")),
        ("missing", ("ill_since", "rare")),
        ("copy", ("word", "rare")),
    ]
    assert sentences[0] == (
        "told after alone tells label rare (ROC AUC 1.000); if it is known only with or after it, "
        "leave it out with --drop 'told after'"
    )


def test_labels_that_are_the_same_are_told(tmp_path):
    table = draw_table().assign(rarer=lambda t: t["rare"])
    assert leaks(table, tmp_path)[0] == [("copy", ("rarer", "rare"))]


def test_what_names_rows_and_persons_is_told(tmp_path):
    table = draw_table().assign(number=range(900), note=[f"{i % 450}" for i in range(900)])
    roles = Roles(("rare",), drop=("person", "rarer", "note"))
    found, sentences, _ = leaks(table, tmp_path, roles=roles, split=False)
    assert found == [("group", ("family",)), ("identifier", ("number",))][::-1]
    assert "--id number" in sentences[0]
    assert "--group family" in sentences[1]


def test_rows_of_one_person_are_suspected_by_the_rare_values_that_they_share(tmp_path):
    table = draw_table().drop(columns=["family", "person", "c"])
    table.loc[300:599, ["a", "b", "d"]] = table.loc[0:299, ["a", "b", "d"]].to_numpy()
    table["d"] = table["d"].round(9)
    table.loc[300:599, "site"] = "elsewhere"
    found, sentences, _ = leaks(table, tmp_path, roles=Roles(("rare", "rarer")), split=False)
    assert found == [("group", ("a", "b", "d"))]
    assert sentences[0].startswith("600 of 900 rows share several rare values with another row")
    alike = draw_table().drop(columns=["family", "person"])
    alike["first"] = alike["last"] = alike["mean"] = np.arange(900) // 2
    assert leaks(alike, tmp_path, roles=Roles(("rare", "rarer")), split=False)[0] == []


def test_what_only_the_test_rows_have_is_told(tmp_path):
    _, _, split = leaks(draw_table(), tmp_path)
    table = draw_table()
    table["late"] = 0.0
    table.loc[split.test, "late"] = 1.0
    assert leaks(table, tmp_path)[0] == [("constant", ("late",))]
    table = draw_table()
    features = [*"abcd", "site"]
    table.loc[split.test[:40], features] = table.loc[split.train[:40], features].to_numpy()
    found, sentences, _ = leaks(table, tmp_path)
    assert found == [("repeated", ())]
    assert sentences[0].startswith(f"40 of {len(split.test)} test rows have the same features")


def test_the_roc_auc_is_scikit_learn_s_over_known_rows():
    random = np.random.default_rng(0)
    labels = random.random((500, 3)) < [0.1, 0.3, 0.5]
    scores = np.round(random.normal(size=500) + labels[:, 1], 1)
    scores[random.random(500) < 0.2] = np.nan
    known = np.isfinite(scores)
    expected = [roc_auc_score(labels[known, j], scores[known]) for j in range(3)]
    np.testing.assert_allclose(_roc_aucs(scores, labels), expected)
    assert _roc_aucs(np.full(500, np.nan), labels).tolist() == [0.5] * 3
    assert _roc_aucs(scores, pd.DataFrame(labels).index.to_numpy()[:, None] < 3).tolist() == [0.5]


@pytest.mark.parametrize("rows", [60, 99])
def test_small_tables_are_looked_at_too(tmp_path, rows):
    assert leaks(draw_table(rows), tmp_path, split=False)[0] == []
