import pytest

from studies.definition import bundled_names, load_definition
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
        ("[space]\nspeed = [1, 2]", "space.speed can't be searched; keys are loss_type"),
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
    same = load_definition("nafld", {"budget": {"trials": 3}, "stack": 2, "sampler": "random"})
    other = load_definition("nafld", {"split": {"val_size": 0.3}})
    assert base.fingerprint("abc") == same.fingerprint("abc")
    assert base.fingerprint("abc") != other.fingerprint("abc")
    assert base.fingerprint("abc") != base.fingerprint("abd")
