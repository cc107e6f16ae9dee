from dataclasses import replace

import pytest

from search.reopen import open_study_at, reopen, stored_definition
from search.store.attributes import DEFINITION
from search.workspace import Place, Workspace
from trainer.errors import ConfigError


def test_a_study_is_prepared_as_it_was_searched(session):
    _, again = reopen(Place("quick_one", session.workspace, device="cpu"))
    assert again.definition.fingerprint("") == session.definition.fingerprint("")
    assert (again.experiment.split.test == session.experiment.split.test).all()
    assert again.best_folder == session.best_folder


def test_a_table_that_has_moved_is_named_and_another_one_refused(session, table_csv, tmp_path):
    moved = tmp_path / "moved.csv"
    moved.write_bytes(table_csv.read_bytes())
    place = Place("quick_one", session.workspace, table=moved, device="cpu")
    assert reopen(place)[1].experiment.table.path == moved
    lines = moved.read_text().splitlines(keepends=True)
    moved.write_text("".join(lines[:-1]))
    with pytest.raises(ConfigError, match=r"moved.csv is not the table .* with --csv"):
        reopen(place)


@pytest.mark.parametrize("broken", [{"colour": "red"}, {"split": "halves"}, "text"])
def test_a_definition_of_another_version_is_one_line_with_the_remedy(session, broken):
    study = open_study_at(Place("quick_one", session.workspace), writable=True)
    kept = study.user_attrs[DEFINITION]
    study.set_user_attr(DEFINITION, {**kept, **broken} if isinstance(broken, dict) else broken)
    try:
        with pytest.raises(ConfigError, match="this version of raretune can't read") as caught:
            stored_definition(study)
        assert "\n" not in str(caught.value)
    finally:
        study.set_user_attr(DEFINITION, kept)


def test_another_seed_of_the_split_is_told_as_that(session):
    study = open_study_at(Place("quick_one", session.workspace), writable=True)
    kept = study.user_attrs[DEFINITION]
    study.set_user_attr(DEFINITION, {**kept, "seed": kept["seed"] + 1})
    try:
        with pytest.raises(ConfigError, match=r"another definition .*seed: 0 -> 1"):
            reopen(Place("quick_one", session.workspace, device="cpu"))
    finally:
        study.set_user_attr(DEFINITION, kept)


def test_no_study_is_made_by_looking_for_one(tmp_path):
    place = Place("nothing", Workspace(tmp_path / "none"))
    for where in (place, replace(place, workspace=Workspace(tmp_path))):
        with pytest.raises(ConfigError, match="--workspace or --storage"):
            open_study_at(where)
    assert list(tmp_path.iterdir()) == []
