import io
import json

import optuna
import pytest
import torch

from search.store.artifacts import KEPT_TRIALS, PREDICTIONS, Shelf
from search.store.attributes import ARTIFACTS
from search.store.identity import identity_of, origin_of_number
from search.store.transactions import set_study_attributes
from trainer.checkpoint import FILES
from trainer.errors import CheckpointError


@pytest.fixture(scope="module")
def study(session):
    return optuna.load_study(study_name="quick_one", storage=session.url)


def ranked(study):
    return sorted(study.trials, key=lambda trial: (-trial.value, trial.number))


def test_the_best_trials_and_the_recipes_are_kept_and_the_others_deleted(session, study):
    shelf = Shelf(study, session.shelf_folder)
    kept = [trial.number for trial in ranked(study) if shelf.fetch(trial) is not None]
    best = [trial.number for trial in ranked(study)[:KEPT_TRIALS]]
    late = [t.number for t in ranked(study)[KEPT_TRIALS:] if "recipe" in t.user_attrs]
    assert late
    assert kept == best + late
    files = list(session.shelf_folder.iterdir())
    assert len(files) == 4 * len(kept) + len(ranked(study))  # all have a place for predictions


def test_a_kept_checkpoint_is_the_trials_own(session, study):
    trial = ranked(study)[1]
    checkpoint = Shelf(study, session.shelf_folder).fetch(trial)
    assert checkpoint.record.trial["number"] == trial.number
    assert checkpoint.record.config.model_dump(mode="json") == trial.user_attrs["config"]
    assert checkpoint.record.validation["scores"]["macro_f1"] == trial.value


def test_the_dashboard_lists_what_is_kept(session, study):
    """In the form that optuna-dashboard reads: by trial among the study's attributes."""
    best = ranked(study)[0]
    listed = [
        json.loads(value)["filename"]
        for key, value in study._storage.get_study_system_attrs(study._study_id).items()
        if key.startswith(f"{ARTIFACTS}{best._trial_id}:") and json.loads(value) is not None
    ]
    names = ["checkpoint.json", "history.csv", "model.safetensors"]
    names += ["predictions.safetensors", "thresholds.json"]
    assert sorted(listed) == names


def test_a_file_that_is_gone_means_not_kept(session, study):
    shelf = Shelf(study, session.shelf_folder)
    trial = ranked(study)[2]
    before = shelf.fetch(trial)
    own = [meta for owner, meta in shelf._listed() if owner == trial._trial_id]
    victim = next(meta for meta in own if meta.filename in FILES)
    (session.shelf_folder / victim.artifact_id).unlink()
    assert shelf.fetch(trial) is None
    assert shelf.keep(trial.number, before)
    assert shelf.fetch(trial).record == before.record


def test_a_checkpoint_that_was_kept_in_part_means_not_kept(session, study):
    """As where a worker is killed while it writes one file after the other."""
    shelf = Shelf(study, session.shelf_folder)
    trial = ranked(study)[1]
    before = shelf.fetch(trial)
    for owner, meta in shelf._listed():
        if owner == trial._trial_id and meta.filename in FILES[1:]:
            shelf._change([], [(owner, meta)])
    assert shelf.fetch(trial) is None
    assert shelf.keep(trial.number, before)
    assert shelf.fetch(trial).record == before.record


def test_what_another_worker_keeps_meanwhile_is_not_dropped(session, study, monkeypatch):
    shelf = Shelf(study, session.shelf_folder)
    best, other = ranked(study)[:2]
    wanted, checkpoint = shelf._wanted(), shelf.fetch(best)
    before = {one: names for one, names in wanted.items() if one != other._trial_id}
    answers = iter([before, wanted])
    monkeypatch.setattr(shelf, "_wanted", lambda: next(answers))
    assert shelf.keep(best.number, checkpoint)
    assert shelf.fetch(other) is not None


def own_files(shelf, trial):
    return [(owner, meta) for owner, meta in shelf._listed() if owner == trial._trial_id]


def test_the_best_trials_held_out_predictions_are_kept_with_their_networks(session, study):
    shelf = Shelf(study, session.shelf_folder)
    for trial in study.trials:
        held_out = shelf.fetch_held_out(trial)
        assert held_out.probabilities.dtype == torch.float16
        origin = json.loads(held_out.about["trial"])
        assert (origin["study_id"], origin["number"]) == (identity_of(study), trial.number)
        assert origin["digest"] == origin_of_number(study, trial.number).digest
    best = ranked(study)[0]
    (kept,), (network,) = shelf.fetch_held_out(best).networks, shelf.fetch(best).networks
    for name, tensor in network.parameters.items():
        assert torch.equal(kept[name], tensor)


def test_predictions_that_lose_their_place_are_deleted_and_one_write_says_all(
    session, study, monkeypatch, tmp_path
):
    shelf = Shelf(study, session.shelf_folder, predictions=3)
    best, last = ranked(study)[0], ranked(study)[-1]
    others = {one._trial_id: shelf.fetch_held_out(one) for one in ranked(study)}
    before = len(list(session.shelf_folder.iterdir()))
    writes = []
    real = set_study_attributes
    monkeypatch.setattr(
        "search.store.artifacts.set_study_attributes",
        lambda study, noted: (writes.append(noted), real(study, noted)),
    )
    assert not shelf.keep(last.number, shelf.fetch(best), others[last._trial_id])
    assert writes == []
    assert shelf.keep(best.number, shelf.fetch(best), others[best._trial_id])
    assert len(writes) == 1
    kept = [one for one in ranked(study) if shelf.fetch_held_out(one) is not None]
    assert kept == ranked(study)[:3]
    assert len(list(session.shelf_folder.iterdir())) == before - len(others) + 3
    whole = Shelf(study, session.shelf_folder, predictions=50)
    for trial in ranked(study):
        checkpoint = whole.fetch(trial) or whole.fetch(best)
        whole.keep(trial.number, checkpoint, others[trial._trial_id])
    assert all(whole.fetch_held_out(one) is not None for one in ranked(study))


def test_a_predictions_file_that_is_gone_means_not_kept_and_a_torn_one_is_said(session, study):
    shelf = Shelf(study, session.shelf_folder, predictions=50)
    trial = ranked(study)[1]
    held_out, checkpoint = shelf.fetch_held_out(trial), shelf.fetch(trial)
    (file,) = [
        session.shelf_folder / meta.artifact_id
        for _, meta in own_files(shelf, trial)
        if meta.filename == PREDICTIONS
    ]
    content = file.read_bytes()
    for broken in (b"", content[:-5], b"\xff" * 40, content.replace(b"held_out", b"held_in_")):
        file.write_bytes(broken)
        with pytest.raises(CheckpointError, match="its predictions") as caught:
            shelf.fetch_held_out(trial)
        assert "\n" not in str(caught.value)
    file.unlink()
    assert shelf.fetch_held_out(trial) is None
    assert shelf.keep(trial.number, checkpoint, held_out)
    assert torch.equal(shelf.fetch_held_out(trial).probabilities, held_out.probabilities)


def test_what_a_user_put_beside_a_trial_is_not_dropped(session, study):
    shelf = Shelf(study, session.shelf_folder, predictions=50)
    trial = ranked(study)[0]
    note = shelf._upload("note.txt", io.BytesIO(b"mine"))
    shelf._change([(trial._trial_id, note)], [])
    assert shelf.keep(trial.number, shelf.fetch(trial), shelf.fetch_held_out(trial))
    assert (session.shelf_folder / note.artifact_id).read_bytes() == b"mine"
    shelf._change([], [(trial._trial_id, note)])


@pytest.mark.parametrize("full_at", ["the artifact", "the checkpoint"])
def test_a_full_shelf_is_said_once_and_leaves_no_half_of_a_file(
    session, study, monkeypatch, capsys, full_at
):
    shelf = Shelf(study, session.shelf_folder, predictions=50)
    trial = ranked(study)[0]
    checkpoint, held_out = shelf.fetch(trial), shelf.fetch_held_out(trial)
    before = sorted(session.shelf_folder.iterdir())

    def full(artifact_id, content):
        (session.shelf_folder / artifact_id).write_bytes(b"half")
        raise OSError(28, "No space left")

    if full_at == "the artifact":
        monkeypatch.setattr(shelf.store, "write", full)
    else:
        monkeypatch.setattr("trainer.checkpoint.write_json", lambda *_: full("gone", b""))
    assert not shelf.keep(trial.number, checkpoint, held_out)
    assert not shelf.keep(trial.number, checkpoint, held_out)
    assert capsys.readouterr().err.count("No space left") == 1
    (session.shelf_folder / "gone").unlink(missing_ok=True)
    assert sorted(session.shelf_folder.iterdir()) == before
    assert shelf.fetch(trial) is not None


def test_what_lost_its_place_while_it_was_written_leaves_nothing(session, study, monkeypatch):
    shelf = Shelf(study, session.shelf_folder, predictions=50)
    trial = ranked(study)[0]
    checkpoint, held_out = shelf.fetch(trial), shelf.fetch_held_out(trial)
    wanted = shelf._wanted()
    without = {one: names for one, names in wanted.items() if one != trial._trial_id}
    answers = iter([wanted, without])
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(shelf, "_wanted", lambda: next(answers))
        assert not shelf.keep(trial.number, checkpoint, held_out)
    assert shelf.fetch(trial) is None
    listed = {meta.artifact_id for _, meta in shelf._listed()}
    assert {path.name for path in session.shelf_folder.iterdir()} == listed
    assert shelf.keep(trial.number, checkpoint, held_out)
