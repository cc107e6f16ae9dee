"""Names from a table are data: no markup, emoji code, format string, pattern or URL."""

import pandas as pd
import pytest
from conftest import draw_table

NAMES = {
    "rare": "[/b]stroke",
    "rarer": "dx[/] :smile:",
    "a": "[red]a{0}",
    "b": "%s%(b)d",
    "c": "http://x/*?#",
    "d": "<b>d</b>&amp;",
    "site": "[link=file:///]site",
    "family": "[/]",
    "person": "{person!r}",
}
VALUES = {"north": "[/north]", "south": ":boom:", "west": "{west}"}
ROLES = [
    *("--label", NAMES["rare"], "--label", NAMES["rarer"]),
    *("--group", NAMES["family"], "--id", NAMES["person"]),
]


@pytest.fixture
def hostile_csv(tmp_path):
    table = draw_table().replace({"site": VALUES}).rename(columns=NAMES)
    table.to_csv(tmp_path / "[bold]clinic{}.csv", index=False)
    return tmp_path / "[bold]clinic{}.csv"


def test_hostile_names_go_through_every_command(here, hostile_csv, tmp_path):
    def run(*arguments):
        done = here(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = tmp_path / "[/]run"
    quick = ("--epochs", 3, "--batch_size", 64, "--hidden_dim", 16)
    shown = run("train", "--csv_path", hostile_csv, *ROLES, "--output_dir", folder, *quick)
    assert NAMES["rare"] in shown
    assert NAMES["rarer"] in shown
    assert str(folder) in shown
    shown = run("evaluate", folder, "--csv", hostile_csv)
    assert NAMES["rare"] in shown
    assert NAMES["rarer"] in shown
    assert hostile_csv.name in shown
    run("predict", folder, "--csv", hostile_csv, "--output", tmp_path / "p.csv")
    outputs = list(pd.read_csv(tmp_path / "p.csv"))
    assert outputs == [
        NAMES["person"],
        *(
            f"{NAMES[name]}_{kind}"
            for name in ("rare", "rarer")
            for kind in ("probability", "positive")
        ),
    ]
    where = ("--workspace", tmp_path / "w[/]")
    budget = ("--trials", 5, "--set", "training.epochs=3", "--set", "space.batch_size=[64]")
    shown = run("search", "--csv", hostile_csv, *ROLES, "--name", "hostile", *where, *budget)
    assert NAMES["rare"] in shown
    assert NAMES["rarer"] in shown
    for command in (["trials", "hostile"], ["best", "hostile"], ["report", "hostile"], ["doctor"]):
        run(*command, *where)
    assert NAMES["rare"] in run("retrain", "hostile", "--output", tmp_path / "again[/]", *where)


@pytest.mark.parametrize("name", ["[/b]gone", "{0}", "%s", ":smile:"])
def test_hostile_names_are_refused_as_they_were_written(here, hostile_csv, name):
    done = here("train", "--csv_path", hostile_csv, "--label", name)
    assert done.returncode == 2
    assert name in done.stderr
    assert done.stderr.count("\n") == 1
