from pathlib import Path

import pytest

from studies.definition import bundled_names, load_definition
from trainer.commands import guide
from trainer.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_study_is_valid(name):
    assert load_definition(name, {}).name == name


def test_an_own_study_needs_only_what_differs(tmp_path):
    path = write(tmp_path, "seed = 5\n[space]\nlr = { low = 1e-3, high = 2e-3 }\n")
    own, default = load_definition(path, {}), load_definition("default", {})
    assert (own.name, own.seed) == ("own", 5)
    assert (own.space["lr"].low, own.space["lr"].log) == (1e-3, False)
    assert own.space["dropout"] == default.space["dropout"]


def test_a_fixed_value_leaves_the_space(tmp_path):
    definition = load_definition(write(tmp_path, "[training]\nnum_layers = 1\n"), {})
    assert "num_layers" not in definition.space
    assert definition.training["num_layers"] == 1
    assert definition.training["epochs"] == 100


def test_a_table_is_found_beside_its_definition(tmp_path):
    definition = load_definition(write(tmp_path, '[table]\ncsv = "t.csv"\nlabels = ["y"]\n'), {})
    assert definition.table.csv == tmp_path / "t.csv"


def test_the_command_line_comes_last(tmp_path):
    path = write(tmp_path, "[budget]\ntrials = 7\n")
    assert load_definition(path, {"budget": {"trials": 9}}).budget.trials == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trials = [", "not valid TOML"),
        ("colour = 1", "colour"),
        ("stack = 0", "stack.*greater than or equal to 1"),
        ('sampler = "grid"', "sampler.*'tpe'"),
        ("[split]\nval_size = 1.5", "split.val_size"),
        ("objective = 'f1'", "objective: must be macro_f1.*or f1:LABEL, got 'f1'"),
        ("objective = 'f1:x'\n[table]\nlabels = ['y']", "'f1:x' names no label.*labels are y"),
        ("workers = 0", "workers.*greater than or equal to 1"),
        ("pruner = 'hyper'", "pruner.*'hyperband'"),
        ("split = 0.2", "split is not a value but a table; keys of split are val_size"),
        ("[training]\nseed = 3", "no key training.seed; did you mean seed"),
        ("[training]\nlr = [1, 2]", "training.lr: must be a number"),
        ("[training]\nlr = 0.1\n[space]\nlr = [0.1, 0.2]", "lr is both fixed.*searched"),
        ("[space]\nspeed = [1, 2]", "no key space.speed; keys of space are loss_type"),
        ("[space]\nepochs = [1, 2]", "no key space.epochs; did you mean training.epochs"),
        ("[space]\nhidden_dim = 64", "space.hidden_dim: must be a list.*fixed under .training"),
        ("[space]\nlr = { high = 0.1 }", "space.lr.range.low: field required"),
        ("[space]\nlr = { low = 0.1, high = 0.2, step = 0.03 }", "a number of steps"),
        ("[space]\nnum_layers = { low = 0, high = 2, step = 0.5 }", "num_layers.*fractional"),
        ("[space]\nlr = { low = 1.0, high = 0.1 }", "low must be below high"),
        ("[space]\nlr = { low = 0.0, high = 0.1, log = true }", "log range must start above 0"),
        ("[space]\nlr = { low = 0.1, high = 7.0 }", "in space.lr.*less than or equal to 1"),
        ('[space]\nloss_type = ["bce", "hinge"]', "in space.loss_type.*hinge"),
        ("[space]\nloss_type = []", "space.loss_type"),
        ("[training]\nepochs = 0", "in training: epochs.*greater than or equal to 1"),
        ('[table]\ncsv = "a.csv"\nexample = "nafld"', "exclude each other"),
    ],
)
def test_a_wrong_definition_names_the_key_in_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_definition(write(tmp_path, text), {})
    assert "\n" not in str(caught.value)
    assert "own.toml" in str(caught.value)


@pytest.mark.parametrize("name", ["nafl", "missing.toml"])
def test_an_unknown_study_is_one_line_with_the_remedy(name):
    with pytest.raises(ConfigError, match=r"bundled"):
        load_definition(name, {})


def test_the_fingerprint_holds_what_must_not_change_and_nothing_else():
    base = load_definition("nafld", {})
    same = load_definition(
        "nafld", {"budget": {"trials": 3}, "stack": 2, "sampler": "random", "workers": 2}
    )
    other = load_definition("nafld", {"split": {"val_size": 0.3}})
    assert base.fingerprint("abc") == same.fingerprint("abc")
    assert base.fingerprint("abc") != other.fingerprint("abc")
    assert base.fingerprint("abc") != base.fingerprint("abd")


def test_an_empty_storage_is_the_workspaces_own(tmp_path):
    assert load_definition("default", {}).storage is None
    url = "postgresql://me@host/db"
    assert load_definition(write(tmp_path, f'storage = "{url}"'), {}).storage == url


def test_a_misspelt_key_does_not_show_its_value_which_may_hold_a_password(tmp_path):
    with pytest.raises(ConfigError, match="storge; did you mean storage") as caught:
        load_definition(write(tmp_path, 'storge = "postgresql://me:secret@host/db"'), {})
    assert "secret" not in str(caught.value)


def test_a_table_from_the_command_line_takes_the_place_of_the_example():
    table = load_definition("mesa", {"table": {"csv": "mesa_final.csv"}}).table
    assert (table.csv, table.example) == (Path("mesa_final.csv"), None)
    assert table.id == ("mesaid",)


def test_the_guides_own_table_has_the_guides_roles():
    table = load_definition("mesa", {}).table
    assert (table.labels, table.sequence, table.id) == (guide.LABELS, guide.SEQUENCE, (guide.ID,))


@pytest.mark.parametrize("name", ["default", "aggressive", "quick"])
def test_studies_for_any_table_name_none(name):
    table = load_definition(name, {"objective": "f1:any"}).table
    assert (table.csv, table.example, table.labels) == (None, None, ())


def test_a_setting_changes_one_value_of_a_range_and_keeps_the_rest(tmp_path):
    path = write(tmp_path, "[space]\nlr = { low = 1e-3, high = 1e-2, log = true }\n")
    lr = load_definition(path, {}, {"space.lr.high": 0.003, "space.lr.low": 0.002}).space["lr"]
    assert (lr.low, lr.high, lr.log) == (0.002, 0.003, True)


def test_settings_come_last_and_the_later_one_wins():
    overrides = {"budget": {"trials": 9}, "training": {"lr": 0.1}}
    settings = {"budget.trials": 20, "space.lr": [0.1, 0.2], "training.dropout": 0.3, "seed": 3}
    definition = load_definition("default", overrides, settings)
    assert (definition.budget.trials, definition.seed) == (20, 3)
    assert definition.space["lr"] == [0.1, 0.2]
    assert "lr" not in definition.training
    assert "dropout" not in definition.space
    replaced = load_definition("default", {}, {"space.lr": {"low": 0.1, "high": 0.2}})
    assert not replaced.space["lr"].log


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space.lr.hihg": 1}, "no key space.lr.hihg; did you mean space.lr.high"),
        ({"trials": 3}, "no key trials; did you mean budget.trials"),
        ({"space.hidden_dim.low": 3}, "space.hidden_dim is no range here; set it whole"),
        ({"seed.x": 3}, "no key seed.x"),
        ({"budget": 3}, "budget is not a value but a table"),
        ({"space.lr.high": "fast"}, "space.lr.range.high.*'fast'"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_its_key(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_definition("default", {}, settings)
    assert "\n" not in str(caught.value)


def test_how_a_table_is_read_is_part_of_the_fingerprint_where_it_is_not_the_usual_way():
    """What earlier versions wrote stays the same, so that their studies go on."""
    base = load_definition("default", {"table": {"labels": ["y"]}})
    assert base.fingerprint("abc")["table"] == {
        **{"sha256": "abc", "labels": ["y"], "group": None, "sequence": None},
        **{"drop": [], "id": []},
    }
    readings = [
        *({key: ["x"]} for key in ("category", "date", "missing")),
        *({"decimal": ","}, {"thousands": ","}, {"separator": ";"}, {"encoding": "cp1252"}),
    ]
    for reading in readings:
        other = load_definition("default", {"table": {"labels": ["y"], **reading}})
        table = other.fingerprint("abc")["table"]
        assert {key: table[key] for key in reading} == reading
    assert base.fingerprint("abc", ["b", "a"])["table"]["numbers_among_texts"] == ["a", "b"]
