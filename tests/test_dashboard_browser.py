"""`raretune dashboard` as its user sees it: a real search, a real server, a real browser."""

import re
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from search.store.artifacts import Shelf
from search.store.storage import default_url

pytest.importorskip(
    "optuna_dashboard", reason='optuna-dashboard is missing: pip install -e ".[dashboard]"'
)
expect = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing: pip install -e '.[dev]'"
).expect

RARETUNE = Path(sys.executable).with_name("raretune")
DEFINITION = """
[training]
epochs = 3
[space]
batch_size = [64]
hidden_dim = [16]
[budget]
trials = 6
"""


@pytest.fixture(scope="module")
def workspace(browser, table_csv, tmp_path_factory):
    """A workspace with a small study; needless, and so not made, without a browser."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "quick.toml").write_text(DEFINITION)
    table = ("--csv", table_csv, "--label", "rare", "--label", "rarer", "--id", "person")
    command = ["search", folder / "quick.toml", *table, "--workspace", folder / "runs"]
    subprocess.run([RARETUNE, *map(str, command)], check=True, capture_output=True, timeout=300)
    return folder / "runs"


@pytest.fixture(scope="module")
def study(workspace):
    return optuna.load_study(study_name="clinic", storage=default_url(workspace))


@pytest.fixture(scope="module")
def address(workspace):
    """The address of the study's page, for as long as its server runs."""
    command = [RARETUNE, "dashboard", "clinic", "--port", "0", "--workspace", str(workspace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_the_study_is_listed_and_its_page_shows_the_metric_and_the_remedies(open_page, address):
    seen = open_page(address.partition("/studies")[0])
    seen.page.get_by_text("clinic").first.click()
    expect(seen.page.get_by_text(re.compile(r"Best Trial \(number"))).to_be_visible()
    expect(seen.page.get_by_text("macro_f1").first).to_be_visible()
    for title in ("What the remedies brought", "How strong the remedies should be"):
        expect(seen.page.get_by_text(title)).to_be_visible()
    assert seen.errors == []
    assert all(request.startswith("http://127.0.0.1:") for request in seen.requests)


def test_a_trials_page_shows_its_note_with_labels_and_command(open_page, address, study):
    best = study.best_trial
    seen = open_page(f"{address}/trials?numbers={best.number}")
    expect(seen.page.get_by_text("validated macro-F1").first).to_be_visible()
    expect(seen.page.get_by_role("cell", name="rarer")).to_be_visible()
    command = f"raretune retrain clinic --trial {best.number} --output"
    expect(seen.page.get_by_text(command)).to_be_visible()
    assert seen.errors == []


def test_the_studys_note_tells_of_the_table_and_the_split(open_page, address):
    seen = open_page(f"{address}/note")
    expect(seen.page.get_by_text("clinic.csv, 900 rows")).to_be_visible()
    expect(seen.page.get_by_text("720 rows in 5 folds and 180 test rows")).to_be_visible()


def test_the_table_of_trials_has_a_column_for_each_score_that_sorts(open_page, address, study):
    seen = open_page(f"{address}/smartSelection", width=2400)
    headings = seen.page.get_by_role("columnheader")
    expect(headings.first).to_be_visible()
    shown = re.findall(r"UserAttribute\s+(\w+)", " | ".join(headings.all_inner_texts()))
    scores = ["macro_f1", "average_precision", "recall", "predicted_share"]
    assert scores == shown[: len(scores)]
    assert {"best_epoch", "seconds", "diagnosis"} <= set(shown)
    assert not {"config", "scores", "labels", "environment", "stack", "owner"} & set(shown)
    column = shown.index("recall") - len(shown) - 1  # the last column leads to the trial's page
    headings.filter(has_text=re.compile(r"UserAttribute\s+recall")).get_by_role("button").click()
    rows = seen.page.locator("tbody tr").all()
    values = [float(row.locator("td").nth(column).inner_text()) for row in rows]
    assert sorted(t.user_attrs["recall"] for t in study.trials) == pytest.approx(sorted(values))
    assert values in (sorted(values), sorted(values, reverse=True))


def test_the_checkpoint_that_is_downloaded_is_the_one_on_the_shelf(
    open_page, address, study, workspace, tmp_path
):
    best = study.best_trial
    seen = open_page(f"{address}/trials?numbers={best.number}")
    card = seen.page.get_by_text("model.safetensors").locator(
        "xpath=ancestor::*[.//a[@download]][1]"
    )
    with seen.page.expect_download() as download:
        card.locator("a[download]").click()
    download.value.save_as(tmp_path / "model.safetensors")
    shelf = Shelf(study, workspace / "artifacts")
    kept = next(
        meta
        for owner, meta in shelf._listed()
        if owner == best._trial_id and meta.filename == "model.safetensors"
    )
    expected = (workspace / "artifacts" / kept.artifact_id).read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == expected
    assert expected == (workspace / "clinic" / "best" / "model.safetensors").read_bytes()
