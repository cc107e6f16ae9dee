"""What optuna-dashboard shows of a study without further work: notes and figures."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import event
from study_case import make_evidence

from search.dashboard import notes
from search.dashboard.notes import annotate, location_options, trial_note
from search.space.strategy import make_pruner, make_sampler
from search.store.attributes import DEFINITION
from search.store.records import read_records, read_study
from search.store.storage import default_url, open_storage, open_study
from search.store.transactions import database
from search.waves.optimize import Search
from studies.definition import load_definition

reader = pytest.importorskip(
    "optuna_dashboard._note", reason='optuna-dashboard is missing: pip install -e ".[dashboard]"'
)
plots = pytest.importorskip("optuna_dashboard._custom_plot_data")

HERE = Path("runs")
URL = default_url(HERE)
DEFINED = load_definition(
    "default",
    {
        "name": "study",
        "stack": 4,
        "table": {"csv": "clinic.csv", "labels": ["one", "two", "three"]},
        "budget": {"trials": 8},
        "training": {"epochs": 4},
        "space": {"batch_size": [64], "hidden_dim": [16]},
    },
)


def search(url, data):
    study = open_study(
        open_storage(url), "study", DEFINED.fingerprint("hash"), pruner=make_pruner(DEFINED)
    )
    study.sampler = make_sampler(DEFINED, 0)
    study.set_user_attr(DEFINITION, DEFINED.model_dump(mode="json"))
    Search(study, data, DEFINED).run()
    return study


@pytest.fixture(params=["sqlite", "journal", "memory"])
def study(request, data, tmp_path):
    """A searched study without notes."""
    urls = {"sqlite": f"sqlite:///{tmp_path}/s.db", "journal": f"journal:///{tmp_path}/s.log"}
    return search(urls.get(request.param, "memory"), data)


@pytest.fixture
def sqlite_study(data, tmp_path):
    return search(f"sqlite:///{tmp_path}/s.db", data)


def attributes(study):
    return study._storage.get_study_system_attrs(study._study_id)


def note(study, trial=None):
    """Read a note as the dashboard does."""
    trial_id = None if trial is None else trial._trial_id
    return reader.get_note_from_system_attrs(attributes(study), trial_id)["body"]


def edit(study, text, trial=None):
    """Save a note as a user of the dashboard does."""
    trial_id = None if trial is None else trial._trial_id
    version = reader.get_note_from_system_attrs(attributes(study), trial_id)["version"] + 1
    reader.save_note_with_version(study._storage, study._study_id, trial_id, version, text)


def test_the_dashboard_reads_a_note_of_every_ended_trial_and_of_the_study(study):
    annotate(study, HERE, URL)
    for trial in study.trials:
        text = note(study, trial)
        assert text.startswith(f"**{trial.state.name.capitalize()}**")
        for label, scores in trial.user_attrs["labels"].items():
            assert f"| {label} | {scores['threshold']:.3f} | {scores['f1']:.3f} |" in text
        number = trial.number
        command = f"raretune retrain study --trial {number} --output study-trial-{number}\n"
        assert command in text
    assert "This is the known recipe **the guide**." in note(study, study.trials[1])
    for part in ("clinic.csv", "one, two, three", "macro-F1", "raretune report study"):
        assert part in note(study)


def test_the_figures_of_the_remedies_are_the_dashboards_to_draw(study):
    annotate(study, HERE, URL)
    found = plots.get_plotly_graph_objects(attributes(study))
    assert set(found) == {"raretune-remedies", "raretune-strength"}
    assert all(plots.is_valid_graph_object_id(name) for name in found)
    for text in found.values():
        assert json.loads(text)["data"]
        assert len(text) < notes.FIGURE_BYTES


def test_a_figure_too_large_for_every_look_leaves_its_title(study, monkeypatch):
    monkeypatch.setattr(notes, "FIGURE_BYTES", 100)
    annotate(study, HERE, URL)
    for text in plots.get_plotly_graph_objects(attributes(study)).values():
        assert json.loads(text)["data"] == []
        assert "raretune report" in json.loads(text)["layout"]["title"]["text"]


def test_once_more_changes_nothing(study):
    annotate(study, HERE, URL)
    before = attributes(study)
    annotate(study, HERE, URL)
    assert attributes(study) == before


def test_all_is_written_by_one_statement_and_nothing_where_nothing_is_new(sqlite_study):
    written = []

    def see(connection, cursor, statement, parameters, context, many):
        if not statement.startswith("SELECT"):
            written.append(len(parameters))

    event.listen(database(sqlite_study).engine, "before_cursor_execute", see)
    annotate(sqlite_study, HERE, URL)
    annotate(sqlite_study, HERE, URL)
    assert written == [len(attributes(sqlite_study))]


def test_a_trial_that_ends_later_gets_its_note_and_the_study_a_new_one(study, monkeypatch):
    annotate(study, HERE, URL)
    old, before = study.trials, [note(study, trial) for trial in study.trials]
    running = study.ask()
    annotate(study, HERE, URL)
    assert not note(study, running)
    study.tell(running, state=TrialState.FAIL)
    monkeypatch.setattr(notes, "study_note", lambda study, *_: f"{len(study.trials)}")
    annotate(study, HERE, URL)
    assert note(study, running).startswith("**Failed**")
    assert note(study) == str(len(old) + 1)
    assert [note(study, trial) for trial in old] == before


def test_what_a_user_has_written_is_kept(study):
    early, late, emptied = study.trials[:3]
    edit(study, "mine, before", early)
    annotate(study, HERE, URL)
    edit(study, "mine, after" * 1000, late)
    edit(study, "", emptied)
    edit(study, "my study")
    study.add_trial(late)
    annotate(study, HERE, URL)
    assert note(study, early) == "mine, before"
    assert note(study, late) == "mine, after" * 1000
    assert note(study, emptied) == ""
    assert note(study) == "my study"
    assert note(study, study.trials[-1])


def test_a_study_that_raretune_did_not_search_is_left_alone():
    study = optuna.create_study()
    study.add_trial(create_trial(value=1.0))
    annotate(study, HERE, URL)
    assert attributes(study) == {}


def ended(state, value=None, **attributes):
    study = optuna.create_study()
    study.add_trial(create_trial(state=state, value=value, user_attrs=attributes))
    return read_records(study)[0]


def test_a_failed_trial_says_why_and_has_no_command_if_it_never_trained():
    text = trial_note("s", ended(TrialState.FAIL, failure="out of memory, alone"), "")
    assert text == "**Failed**: out of memory, alone."


def test_a_lost_trial_says_so():
    text = trial_note("s", ended(TrialState.FAIL, lost="its process died"), "")
    assert text == "**Lost**: its process died."


def test_signs_come_in_words_with_their_remedies():
    sign = {"name": "all_negative", "words": "2 of 7 labels", "remedies": ["--lr 1e-4", "--b 2"]}
    text = trial_note("s", ended(TrialState.COMPLETE, 0.5, signs=[sign]), "")
    assert "**all negative**: 2 of 7 labels. Try `--lr 1e-4` or `--b 2`." in text


def test_names_that_mean_something_to_markdown_are_shown_as_they_are():
    scores = dict.fromkeys(
        ("threshold", "f1", "precision", "recall", "predicted_share", "prevalence"), 0.5
    )
    labels = {"a|b_c_": scores, "<script>\n": scores}
    text = trial_note("it's", ended(TrialState.COMPLETE, 0.5, labels=labels, epochs=3), "")
    assert r"| a\|b\_c\_ | 0.500 |" in text
    assert r"| \<script\> | 0.500 |" in text
    assert """raretune retrain 'it'"'"'s' --trial 0""" in text


def test_control_characters_are_written_out():
    scores = dict.fromkeys(
        ("threshold", "f1", "precision", "recall", "predicted_share", "prevalence"), 0.5
    )
    text = trial_note("s", ended(TrialState.COMPLETE, 0.5, labels={"dx\x1b[2J": scores}), "")
    assert r"| dx\\x1b\[2J |" in text


def test_the_studys_note_tells_of_the_folds(sqlite_study):
    record = read_study(sqlite_study)
    evidence = make_evidence(trial=record.best.number)
    told = notes.study_note(record, evidence, "")
    assert "Split: 600 train, 600 validation and 600 test rows" in told
    folded = evidence.table.model_copy(update={"folds": 5, "repeats": 2, "validation": 1200})
    told = notes.study_note(record, evidence.model_copy(update={"table": folded}), "")
    assert "Split: 1,200 rows in 5 folds 2 times and 600 test rows" in told


def test_commands_find_the_study_from_any_folder_and_hold_no_password(tmp_path):
    assert location_options(Path("runs"), default_url(Path("runs"))) == ""
    assert location_options(tmp_path, default_url(tmp_path)) == f" --workspace {tmp_path}"
    far = location_options(Path("runs"), "postgresql://me:secret@host/db")
    assert far == " --storage 'postgresql://me:***@host/db'"
