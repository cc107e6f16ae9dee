import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

RARETUNE = Path(sys.executable).with_name("raretune")
QUICK = (
    "[training]\nepochs = 2\n[space]\nbatch_size = [64]\nhidden_dim = [16]\n[budget]\ntrials = 4\n"
)


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(QUICK)
    return path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_search_in_another_encoding_ends_well(encoding, quick, table_csv, tmp_path):
    csv = tmp_path / "clinic.csv"
    table = pd.read_csv(table_csv, dtype={"person": str})
    table.rename(columns={"rare": "r\u00e4r \u60a3"}).to_csv(csv, index=False)
    command = ["search", quick, "--csv", csv, "--label", "r\u00e4r \u60a3", "--group", "family"]
    command += ["--drop", "person", "--workspace", tmp_path / "runs"]
    shown = [
        subprocess.run(
            [str(RARETUNE), *map(str, command), *more],
            capture_output=True,
            encoding=encoding,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            timeout=120,
        )
        for more in ((), ("--json",))
    ]
    assert [done.returncode for done in shown] == [0, 0], shown[0].stderr
    assert "\\u60a3" in shown[0].stdout
    assert list(json.loads(shown[1].stdout)["test"]["labels"]) == ["r\u00e4r \u60a3"]


def test_trials_into_a_closed_pipe_end_quietly(searched_session):
    session = searched_session(
        "piped",
        training={"epochs": 1},
        pruner="none",
        budget={"trials": 3},
        space={"batch_size": [64], "hidden_dim": [16]},
    )
    line = f'"{RARETUNE}" trials piped --workspace "{session.workspace.folder}"'
    for reader in ("head -n 1 >/dev/null", "true"):
        script = f"{line} | {reader}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() in ("0", "141")
        assert done.stderr == ""
