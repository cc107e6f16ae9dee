import json

import optuna
import pytest

from search.dashboard.notes import annotate
from search.store.attributes import NOTE_TEXT
from search.store.transactions import study_attributes

DEFINITION = """
[training]
epochs = 4
[space]
loss_type = ["focal", "weighted_bce"]
weight_method = ["balanced", "per_class"]
class_weight_method = ["balanced", "aggressive"]
batch_size = [64]
hidden_dim = [16]
[budget]
trials = 6
"""


@pytest.fixture(scope="module")
def definition(tmp_path_factory):
    path = tmp_path_factory.mktemp("definition") / "quick.toml"
    path.write_text(DEFINITION)
    return path


def command(definition, table_csv, workspace):
    roles = ("--csv", table_csv, "--label", "rare", "--label", "rarer", "--group", "family")
    return ("search", definition, *roles, "--id", "person", "--workspace", workspace)


@pytest.fixture
def search(definition, table_csv, tmp_path, here):
    """Search the shared table, with other words of the command line, and return what it prints."""

    def run(*words):
        done = here(*command(definition, table_csv, tmp_path / "runs"), *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_search_is_certified_and_all_that_tells_of_its_best_trial_says_so(search, here, tmp_path):
    where = ("--workspace", tmp_path / "runs")
    certificate = json.loads(search("--certify", "--workers", "2", "--json"))["certificate"]
    verdict = certificate.pop("verdict")
    assert set(certificate) == {"trial", "objective", "seeds", "epochs", "remedies"}
    assert certificate["seeds"] == 3
    for one in certificate["remedies"]:
        assert set(one) == {"remedy", "without", "difference", "interval"}
        low, high = one["interval"]
        assert low <= one["difference"] <= high
    shown = " ".join(search().split())
    assert " ".join(verdict.split()) in shown
    assert "left out" not in shown
    assert verdict in (tmp_path / "runs" / "clinic" / "report.html").read_text()
    best = json.loads(here("best", "clinic", *where, "--json").stdout)
    assert best["certificate"] == {"verdict": verdict, **certificate}
    assert verdict in here("best", "clinic", *where).stdout.replace("\n", " ")
    study = optuna.load_study(
        study_name="clinic", storage=f"sqlite:///{tmp_path / 'runs' / 'studies.db'}"
    )
    assert f"**{verdict}**" in study_attributes(study)[f"{NOTE_TEXT}0"]


def test_without_one_the_search_says_how_to_have_it_and_the_command_makes_it(
    search, here, tmp_path
):
    where = ("--workspace", tmp_path / "runs")
    assert "raretune certify" not in search("--no-certify")
    assert json.loads(here("best", "clinic", *where, "--json").stdout)["certificate"] is None
    done = here("certify", "clinic", *where, "--seeds", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert "with 2 new seeds" in done.stderr
    assert "runs trained" in done.stderr
    made = json.loads(done.stdout)
    assert made["seeds"] == 2
    assert json.loads(here("best", "clinic", *where, "--json").stdout)["certificate"] == made
    again = here("certify", "clinic", *where, "--seeds", "2")
    assert made["verdict"] in again.stdout.replace("\n", " ")
    assert json.loads(search("--json"))["certificate"] == made
    study = optuna.load_study(
        study_name="clinic", storage=f"sqlite:///{tmp_path / 'runs' / 'studies.db'}"
    )
    annotate(study, tmp_path / "runs", "sqlite://")
    assert made["verdict"] in study_attributes(study)[f"{NOTE_TEXT}0"]


def test_another_trial_is_certified_but_not_taken_for_the_best(search, here, tmp_path):
    where = ("--workspace", tmp_path / "runs")
    best = json.loads(search("--no-certify", "--json"))["best"]["number"]
    other = 2 if best == 1 else 1
    made = json.loads(here("certify", "clinic", "--trial", other, *where, "--json").stdout)
    assert made["trial"] == other
    assert json.loads(here("best", "clinic", *where, "--json").stdout)["certificate"] is None
    plain = here("certify", "clinic", "--trial", "0", *where)
    assert "none to certify" in plain.stdout
    assert plain.stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "1"), "--seeds must be from 2 to 1000, got 1"),
        (("--seeds", "1001"), "--seeds must be from 2 to 1000"),
        (("--trial", "99"), "no trial 99 has ended"),
    ],
)
def test_what_can_not_be_certified_is_one_line(session, here, words, message):
    where = ("--workspace", session.workspace.folder)
    done = here("certify", session.definition.name, *words, *where)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
