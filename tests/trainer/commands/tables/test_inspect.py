import json
import tomllib

import numpy as np
import pandas as pd
import pytest
from conftest import draw_table

from studies.definition import load_definition
from trainer.data.cells.dialect import Dialect
from trainer.data.inspection.summary import summarize
from trainer.data.table import Roles, read_table


def clinic() -> pd.DataFrame:
    table = draw_table()
    table["ward"] = np.arange(900) % 3 * 5
    table["same"] = 1
    table["visit"] = "31.12.2020"
    table.loc[::2, "visit"] = "01.06.2020"
    table["b"] = table["b"].astype(str)
    table.loc[::50, "b"] = "?"
    table.loc[::3, "d"] = np.nan
    return table


ROLES = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")


@pytest.fixture
def path(tmp_path):
    clinic().to_csv(tmp_path / "clinic.csv", index=False, sep=";", decimal=",")
    return tmp_path / "clinic.csv"


def plain(path, tmp_path):
    """The same table with points, as pandas writes it."""
    clinic().to_csv(tmp_path / "plain.csv", index=False)
    return tmp_path / "plain.csv"


def test_what_is_printed_is_the_definition_of_a_search_with_the_same_reading(path, here, tmp_path):
    csv = plain(path, tmp_path)
    done = here("inspect", csv, *ROLES, "--date", "visit", "--category", "ward")
    assert done.returncode == 0, done.stderr
    (tmp_path / "clinic.toml").write_text(done.stdout)
    table = load_definition(str(tmp_path / "clinic.toml"), {}).table
    assert table.csv == csv
    assert table.roles == Roles(
        ("rare", "rarer"), "family", None, (), ("person",), ("ward",), ("visit",)
    )
    assert table.dialect == Dialect()
    lines = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert lines[0].startswith("# plain.csv: 900 rows with 4 numbers, 2 category columns, 1 date; ")
    for line in (
        "#   often missing: d (33%)",
        "#   the same in every row, left out: same",
        "#   dates: visit",
        "#   categories: site (3 texts), ward (3 texts)",
        "#   numbers among other texts: b (? missing)",
        "#   groups by family: 300, of 3 to 3 rows, 3 in the median",
        "# '?' is taken as missing among the numbers of 'b'",
    ):
        assert line in lines
    assert any(line.startswith("#   label rare: ") for line in lines)


def test_a_dialect_is_part_of_the_definition(path, here):
    table = clinic().drop(columns=["b", "visit"])
    table.to_csv(path, index=False, sep=";", decimal=",")
    done = here("inspect", path, *ROLES, "--decimal", ",", "--missing", "north")
    assert done.returncode == 0, done.stderr
    found = tomllib.loads(done.stdout)["table"]
    assert (found["decimal"], found["missing"]) == (",", ["north"])


def test_the_json_has_all_of_it(path, here, tmp_path):
    csv = plain(path, tmp_path)
    done = here("inspect", csv, *ROLES, "--drop", "visit", "--json")
    found = json.loads(done.stdout)
    assert (found["rows"], found["sequence"], found["dates"]) == (900, None, [])
    assert found["numbers"] == ["a", "b", "c", "d", "ward"]
    assert found["few_values"] == {"ward": 3}
    assert found["constants"] == ["same"]
    assert found["among_texts"] == {"b": ["?"]}
    counts = clinic()["rare"].value_counts()
    assert found["labels"]["rare"] == {"positives": counts[1], "negatives": counts[0]}
    assert found["groups"]["groups"] == 300
    assert found["warnings"] == []
    table = read_table(csv, Roles(("rare", "rarer"), "family", None, ("visit",), ("person",)))
    assert found["missing"] == pytest.approx(summarize(table).missing)


def test_without_labels_the_rare_columns_are_suggested(here, tmp_path):
    draw_table().to_csv(tmp_path / "t.csv", index=False)
    done = here("inspect", tmp_path / "t.csv", "--id", "person", "--group", "family")
    assert tomllib.loads(done.stdout)["table"]["labels"] == ["rare", "rarer"]
    assert "# no label was named" in done.stdout
    done = here("inspect", tmp_path / "t.csv", "--drop", "rare", "--drop", "rarer")
    assert done.returncode == 2
    assert "t.csv has no rare 0/1 column; name the columns to predict with --label" in done.stderr


def test_a_leak_is_a_warning_and_with_strict_an_error(here, tmp_path):
    draw_table().assign(after=lambda t: t["rare"]).to_csv(tmp_path / "t.csv", index=False)
    command = ("inspect", tmp_path / "t.csv", *ROLES)
    done = here(*command)
    assert done.returncode == 0
    assert "# warning: after is a copy of label rare; if it is known only" in done.stdout
    tomllib.loads(done.stdout)
    table = ("--csv", tmp_path / "t.csv", *ROLES)
    for strict in (command, ("train", *table), ("search", *table, "--workspace", tmp_path)):
        done = here(*strict, "--strict")
        assert done.returncode == 2
        assert "--strict refuses the table: after is a copy of label rare" in done.stderr


def test_a_training_says_what_it_read_and_has_it_in_its_json(here, tmp_path):
    draw_table().to_csv(tmp_path / "t.csv", index=False)
    command = ("train", "--csv", tmp_path / "t.csv", *ROLES, "--epochs", "1")
    done = here(*command, "--output_dir", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    assert "t.csv: 900 rows with 4 numbers, 1 category column; " in done.stderr
    assert "label rarer: " in done.stderr
    found = json.loads(done.stdout)["columns"]
    assert found["categories"] == {"site": 3}
    assert found["groups"]["column"] == "family"


def test_names_with_odd_characters_stay_in_their_comment(here, tmp_path):
    table = draw_table().rename(columns={"a": "a\nb = 1", "site": "s\x1bite"})
    table.to_csv(tmp_path / "t.csv", index=False)
    done = here("inspect", tmp_path / "t.csv", *ROLES, "--drop", "a\nb = 1")
    assert tomllib.loads(done.stdout)["table"]["drop"] == ["a\nb = 1"]
    assert "\x1b" not in done.stdout


def test_labels_out_of_lists_are_trained_on_and_scored(here, tmp_path):
    table = draw_table()
    table["dx"] = np.where(table["rare"] == 1, "rare", "") + np.where(table["rarer"], ";rarer", "")
    lists = table.drop(columns=["rare", "rarer"])
    lists.to_csv(tmp_path / "lists.csv", index=False)
    table.drop(columns="dx").to_csv(tmp_path / "columns.csv", index=False)
    roles = ("--group", "family", "--id", "person", "--epochs", "1", "--json")
    named = ("--labels_from", "dx", "--list_separator", ";")
    made = []
    for name, labels in (("lists", named), ("columns", ("--label", "rare", "--label", "rarer"))):
        csv, folder = tmp_path / f"{name}.csv", tmp_path / name
        done = here("train", "--csv", csv, *labels, *roles, "--output_dir", folder)
        assert done.returncode == 0, done.stderr
        made.append(json.loads(done.stdout)["test"])
        scored = here("evaluate", folder, "--csv", csv, "--json")
        assert scored.returncode == 0, scored.stderr
    assert made[0] == made[1]
    done = here("inspect", tmp_path / "lists.csv", *named, *roles[:4])
    found = tomllib.loads(done.stdout)["table"]
    assert (found["labels"], found["labels_from"]) == (["rare", "rarer"], "dx")
    search = ("search", "--csv", tmp_path / "lists.csv", *named, "--workspace", tmp_path)
    done = here(*search, "--drop", "person", "--objective", "f1:other")
    assert done.returncode == 2
    assert "objective 'f1:other' names no label of the table; labels are rare, rarer" in done.stderr
