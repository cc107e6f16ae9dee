"""Commands that only read import nothing that trains."""

import subprocess
import sys

import pytest
from study_case import make_evidence, make_study

from search.evidence.evidence import store
from search.export import export_best
from search.store.artifacts import Shelf
from search.store.storage import load_study, open_storage
from search.workspace import Workspace

SEARCHING = {
    "search.waves.optimize",
    "search.waves.wave",
    "search.session",
    "search.run",
    "search.export",
    "search.space.strategy",
    "trainer.experiment",
    "trainer.loop.fit",
    "trainer.steps.epoch",
}
RUN = """
import sys
from search.cli import main
sys.argv = ["raretune", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sys.modules)
"""


def imported(*arguments):
    """Names of the modules that a command imports."""
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["report", "trials"])
def test_what_reads_a_study_imports_no_search_and_no_training(tmp_path, command):
    study = make_study(2, storage=Workspace(tmp_path).url)  # both of them in the evidence
    store(study, make_evidence(trial=study.best_trial.number))
    assert not SEARCHING & imported(command, "clinic", "--workspace", tmp_path)


def test_predict_imports_no_search_and_no_training(session, tmp_path):
    study = load_study(open_storage(session.url), session.definition.name)
    export_best(session, study, Shelf(study, session.shelf_folder))
    csv, output = session.definition.table.csv, tmp_path / "predictions.csv"
    found = imported("predict", session.best_folder, "--csv", csv, "--output", output)
    assert not SEARCHING & found
    assert not {"optuna", "plotly", "sklearn", "search.store.storage"} & found
