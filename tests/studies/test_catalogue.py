import pytest

from studies.catalogue import definition_text, describe_studies
from studies.definition import bundled_names, load_definition
from trainer.errors import ConfigError


def test_every_bundled_study_says_what_it_is_for():
    described = dict(describe_studies())
    assert list(described) == bundled_names()
    assert len(set(described.values())) == len(described)


@pytest.mark.parametrize("name", bundled_names())
def test_a_shown_study_loads_as_an_equal_definition(name, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(definition_text(name), encoding="utf-8")
    assert load_definition(str(path), {}) == load_definition(name, {})


@pytest.mark.parametrize("name", bundled_names())
def test_a_shown_study_opens_with_what_it_is_for_and_explains_its_keys(name):
    text = definition_text(name)
    assert text.startswith("# ")
    assert "stack = 8  # trials that train side by side\n" in text
    assert "[training]  # held fixed" in text


@pytest.mark.parametrize("name", ["nothing", "own.toml"])
def test_only_bundled_studies_are_shown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").touch()
    with pytest.raises(ConfigError, match="aggressive, default, mesa, nafld, quick"):
        definition_text(name)
