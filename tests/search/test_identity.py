"""What is kept is handed over only where it is this study's and scores as it says."""

import json
import shutil
from dataclasses import replace

import optuna
import pytest
import torch

from search.export import checkpoint_of, export_best
from search.run import run_search
from search.session import prepare
from search.store.artifacts import Shelf
from search.store.attributes import IDENTITY
from search.store.identity import identity_of, origin_of
from search.store.records import complete, read_records
from search.store.storage import load_study, open_storage
from search.verification import fault
from search.workspace import Workspace
from trainer.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def copied(exported, tmp_path):
    """The same in a workspace of its own: session, study, shelf and best trial."""
    session, _ = exported
    workspace = Workspace(shutil.copytree(session.workspace.folder, tmp_path / "runs"))
    session = replace(session, workspace=workspace, url=workspace.url)
    study = load_study(open_storage(workspace.url), "clinic")
    best = complete(read_records(study))[0]
    return session, study, Shelf(study, session.shelf_folder), best


def edited(folder, change):
    """Change checkpoint.json as by hand."""
    path = folder / "checkpoint.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_study_keeps_the_identity_it_was_made_with(copied):
    session, study, _, best = copied
    known = identity_of(study)
    record = load_checkpoint(session.best_folder).record
    origin = origin_of(study, best)
    assert (record.trial["study_id"], record.trial["digest"]) == (known, origin.digest)
    assert fault(load_checkpoint(session.best_folder), session, best, origin) == ""
    run_search(session, should_stop=lambda: True, on_progress=lambda progress: None)
    assert identity_of(study) == known


def test_what_is_right_is_handed_over_without_a_word(copied, capsys):
    session, study, shelf, _ = copied
    before = (session.best_folder / "checkpoint.json").read_bytes()
    export_best(session, study, shelf)
    assert (session.best_folder / "checkpoint.json").read_bytes() == before
    assert capsys.readouterr().err == ""


def test_another_study_of_the_same_name_hands_over_its_own_network(copied, capsys):
    """Its seed differs, so that rows of the former one's training are test rows now."""
    session, _, _, _ = copied
    former = load_checkpoint(session.best_folder).record
    for file in session.workspace.folder.glob("studies.db*"):
        file.unlink()
    fresh = session.definition.model_copy(update={"seed": 5})
    again = prepare(fresh, session.workspace, None, "cpu")
    outcome = run_search(again, should_stop=lambda: False, on_progress=lambda progress: None)
    told = capsys.readouterr().err
    record = outcome.checkpoint.record
    assert record.split["seed"] == 5
    assert record.test["macro_f1"] != former.test["macro_f1"]
    assert load_checkpoint(session.best_folder).record.trial == record.trial
    assert told.count("\n") == 1
    assert "is made again: it is of another study" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r["test"].update(macro_f1=0.999), "test score macro_f1 is said to be 0.999"),
        (lambda r: r["test"]["labels"]["rare"].update(recall=1.0), "test score labels rare recall"),
        (lambda r: r["thresholds"].update(rare=0.987), "threshold of rare is said to be 0.987"),
        (lambda r: r["calibration"]["rare"].update(c=0.5), "calibration rare c is said to be 0.5"),
        (lambda r: r["validation"].update(macro_f1=0.9), "validated macro_f1 is said to be 0.9"),
        (lambda r: r["validation"]["scores"].clear(), "its score"),
        (lambda r: r["trial"].update(value=0.9), "settings, split, table or value"),
        (lambda r: r["config"].update(lr=0.5), "settings, split, table or value"),
        (lambda r: r["trial"].update(study_id="x"), "of another study"),
        (lambda r: r.update(test=None), "no test scores"),
    ],
)
def test_what_was_changed_by_hand_is_made_again(copied, capsys, change, told):
    session, study, shelf, _ = copied
    before = load_checkpoint(session.best_folder).record
    edited(session.best_folder, change)
    found = export_best(session, study, shelf)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert told in said
    assert found.record.model_dump_json() == before.model_dump_json()
    assert load_checkpoint(session.best_folder).record == before


def negated(checkpoint):
    networks = tuple(
        replace(one, parameters={name: -t for name, t in one.parameters.items()})
        for one in checkpoint.networks
    )
    return replace(checkpoint, networks=networks)


def test_other_weights_on_the_shelf_or_in_best_are_not_handed_over(copied, capsys):
    session, study, shelf, best = copied
    right = load_checkpoint(session.best_folder)
    kept = shelf.fetch(study.trials[best.number])
    assert shelf.keep(best.number, negated(kept))
    save_checkpoint(session.best_folder, negated(right))
    found = export_best(session, study, shelf)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert f"the kept checkpoint of trial {best.number} of clinic is not used" in said[1]
    for name, tensor in right.networks[0].parameters.items():
        assert torch.equal(found.networks[0].parameters[name], tensor)
    again = checkpoint_of(session, study, shelf, best)
    assert torch.equal(
        again.networks[0].parameters["layers.0.weight"],
        right.networks[0].parameters["layers.0.weight"],
    )
    assert capsys.readouterr().err == ""


def test_a_broken_one_on_the_shelf_is_trained_again(copied, capsys):
    session, study, shelf, best = copied
    for owner, meta in shelf._listed():
        if owner == best.trial_id and meta.filename == "model.safetensors":
            (session.shelf_folder / meta.artifact_id).write_bytes(b"x")
    found = checkpoint_of(session, study, shelf, best)
    assert fault(found, session, best, origin_of(study, best)) == ""
    assert "is broken" in capsys.readouterr().err


def without_calibration(record):
    for part in (record, record["validation"], record["test"]):
        del part["calibration"]


@pytest.mark.parametrize(
    "change",
    [lambda r: [r["trial"].pop(k) for k in ("study_id", "digest")], without_calibration],
)
def test_one_of_an_earlier_version_is_known_by_what_it_is(copied, capsys, change):
    session, study, shelf, _ = copied
    edited(session.best_folder, change)
    before = (session.best_folder / "checkpoint.json").read_bytes()
    export_best(session, study, shelf)
    assert (session.best_folder / "checkpoint.json").read_bytes() == before
    assert capsys.readouterr().err == ""


def test_a_study_without_an_identity_gets_one_at_its_next_search(tmp_path, session):
    workspace = Workspace(shutil.copytree(session.workspace.folder, tmp_path / "runs"))
    moved = replace(session, workspace=workspace, url=workspace.url)
    study = optuna.load_study(study_name="quick_one", storage=workspace.url)
    study._storage.set_study_user_attr(study._study_id, IDENTITY, None)
    assert identity_of(study) is None
    run_search(moved, should_stop=lambda: True, on_progress=lambda progress: None)
    assert identity_of(study)


def test_best_and_report_name_the_checkpoint_only_where_it_is_the_best_trials(copied, here):
    session, _, _, best = copied
    where = ("clinic", "--workspace", session.workspace.folder)
    right = here("best", *where, "--json")
    assert json.loads(right.stdout)["checkpoint"] == str(session.best_folder)
    assert right.stderr == here("report", *where).stderr == ""
    page = session.workspace.report("clinic")
    assert f"raretune predict {session.best_folder} " in page.read_text()

    edited(session.best_folder, lambda r: r["trial"].update(study_id="x"))
    wrong = here("best", *where, "--json")
    assert json.loads(wrong.stdout)["checkpoint"] is None
    told = f"{session.best_folder} is not trial {best.number}, the best one: it is of another study"
    assert told in wrong.stderr
    assert told in here("report", *where).stderr
    assert f"raretune predict {session.best_folder} " not in page.read_text()
    assert "raretune predict exported " in page.read_text()

    shutil.rmtree(session.best_folder)
    gone = here("best", *where, "--json")
    assert (json.loads(gone.stdout)["checkpoint"], gone.stderr) == (None, "")
