import json

import pytest

QUICK = """
[training]
epochs = 2
[space]
batch_size = [64]
hidden_dim = [16]
[budget]
trials = 4
"""


@pytest.fixture
def search(here, table_csv, tmp_path):
    """Run a search of seconds in a workspace."""
    definition = tmp_path / "quick.toml"
    definition.write_text(QUICK)
    roles = ("--label", "rare", "--label", "rarer", "--group", "family", "--drop", "person")

    def run(workspace, *more):
        return here(
            "search", definition, "--csv", table_csv, *roles, "--workspace", workspace, *more
        )

    return run


def test_a_search_ends_with_its_report_which_the_command_writes_again(here, search, tmp_path):
    runs = tmp_path / "runs"
    done = search(runs, "--json")
    page = runs / "clinic" / "report.html"
    assert (done.returncode, json.loads(done.stdout)["report"]) == (0, str(page)), done.stderr
    first = page.read_text(encoding="utf-8")
    assert "every row positive" in first
    assert 'id="cut-1"' in first
    again = here("report", "clinic", "--workspace", runs)
    assert (again.returncode, again.stdout) == (0, f"{page}\n"), again.stderr
    assert page.read_text(encoding="utf-8") == first
    elsewhere = here(
        "report", "clinic", "--workspace", runs, "--output", tmp_path / "new" / "x.html"
    )
    assert elsewhere.returncode == 0
    assert (tmp_path / "new" / "x.html").read_text(encoding="utf-8") == first


def test_a_report_that_can_not_be_written_costs_the_search_nothing(search, tmp_path):
    page = tmp_path / "runs" / "clinic" / "report.html"
    page.mkdir(parents=True)
    done = search(tmp_path / "runs")
    assert done.returncode == 0
    assert "Report:" not in done.stdout
    assert "Best is trial" in done.stdout
    told = [line for line in done.stderr.splitlines() if "report is not written" in line]
    assert len(told) == 1
    assert (page.parent / "best" / "model.safetensors").exists()


def test_errors_are_one_line_with_the_remedy(here, tmp_path):
    done = here("report", "nothing", "--workspace", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "--workspace" in done.stderr
