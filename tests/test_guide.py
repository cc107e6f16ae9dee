"""The guide as a user follows it: its two commands word for word, its signs, its escalation."""

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.checkpoint import load_checkpoint
from trainer.loop.resume import STATE

RARETUNE = Path(sys.executable).with_name("raretune")

RECOMMENDED = """
    --csv_path mesa_final.csv
    --output_dir checkpoints/comorbidity_aggressive
    --use_stratified_split
    --use_weighted_sampling
    --weight_method per_class
    --loss_type focal
    --focal_gamma 3.0
    --class_weight_method aggressive
    --class_weight_multiplier 2.0
    --optimize_thresholds
    --early_stop_metric macro_f1
    --early_stop_patience 15
    --epochs 100
    --batch_size 32
    --lr 1e-3
"""
ESCALATED = """
    --csv_path mesa_final.csv
    --output_dir checkpoints/comorbidity_very_aggressive
    --use_stratified_split
    --use_weighted_sampling
    --weight_method per_class
    --loss_type weighted_bce
    --class_weight_method very_aggressive
    --class_weight_multiplier 5.0
    --optimize_thresholds
    --early_stop_metric macro_recall
    --early_stop_patience 20
    --epochs 100
    --batch_size 16
    --lr 5e-4
"""


def run(*command, cwd):
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the synthetic table where the guide expects the real one."""
    path = tmp_path_factory.mktemp("guide")
    made = run(
        RARETUNE, "example", "mesa", "--rows", "2000", "--output", "mesa_final.csv", cwd=path
    )
    assert made.returncode == 0, made.stderr
    assert "synthetic" in made.stdout
    return path


@pytest.mark.parametrize("flags", [RECOMMENDED, ESCALATED])
def test_the_guides_command_runs_word_for_word(folder, flags):
    done = run(RARETUNE, "train", *shlex.split(flags), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Diagnosis" in done.stdout
    assert "raretune predict checkpoints/" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "epoch" in line]
    assert len(lines) >= 15  # a plain line an epoch
    output = folder / re.search(r"--output_dir (\S+)", flags)[1]
    names = {path.name for path in output.iterdir()}
    files = {"model.safetensors", "checkpoint.json", "thresholds.json", "history.csv"}
    assert names == files | {"history.svg"}
    checkpoint = load_checkpoint(output)
    early = checkpoint.history[:5]
    assert max(row["predicted_share_apnea"] for row in early) > 0
    assert max(row["macro_f1"] for row in early) > 0
    assert 0.15 < checkpoint.record.test["macro_f1"] < 0.5


def test_the_module_takes_the_same_command_with_hyphens(folder):
    flags = RECOMMENDED.replace("--epochs 100", "--epochs 2")
    flags = re.sub(r"--\w+", lambda found: "--" + found[0][2:].replace("_", "-"), flags)
    done = run(sys.executable, "-m", "trainer", "train", *shlex.split(flags), "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["epochs"] == 2
    assert found["config"]["weight_method"] == "per_class"
    assert set(found["test"]["labels"]) == {"insomnia", "restless leg", "apnea"}


def test_following_the_printed_remedies_ends_an_all_negative_run(folder):
    """Plain BCE at 0.5 answers negative to everything; the run says so and what to change."""
    flags = ["--csv", "mesa_final.csv", "--output_dir", "planted", "--epochs", "25", "--json"]
    rounds = 0
    for rounds in range(4):  # noqa: B007 (read after the loop)
        done = run(RARETUNE, "train", *flags, cwd=folder)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        signs = {sign["sign"]: sign for sign in found["diagnosis"]}
        if "all_negative" not in signs:
            break
        flags += shlex.split(signs["all_negative"]["remedies"][0])
    assert rounds > 0, "the planted run was not all negative"
    rows = found["validation"]["labels"].values()
    assert all(row["predicted_share"] > 0 for row in rows)


def test_a_killed_run_resumes_to_the_same_bits(folder):
    flags = ["--csv", "mesa_final.csv", "--epochs", "150", "--early_stop_patience", "150"]
    flags += ["--optimize_thresholds", "--batch_size", "16"]
    whole = run(RARETUNE, "train", *flags, "--output_dir", "whole", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    command = [RARETUNE, "train", *flags, "--output_dir", "killed"]
    process = subprocess.Popen(
        list(map(str, command)), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    state, deadline = folder / "killed" / STATE, time.monotonic() + 60
    while not state.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert not (folder / "killed" / "checkpoint.json").exists()
    resumed = run(RARETUNE, "train", "--resume", "killed", cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("model.safetensors", "thresholds.json", "history.csv", "checkpoint.json"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert not state.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "3"], "--csv_path"),
        (["--csv", "mesa_final.csv", "--weight_method", "per_class"], "--use_weighted_sampling"),
        (["--csv", "mesa_final.csv", "--loss_type", "hinge"], "loss_type.*'focal'"),
        (["--csv", "mesa_final.csv", "--focal_gamma", "-1"], "focal_gamma.*greater"),
        (["--csv", "mesa_final.csv", "--threshold_metric", "f"], "threshold metric 'f'.*f0.5"),
        (["--csv", "mesa_final.csv", "--device", "cuda"], "no CUDA device"),
        (["--csv", "other.csv"], r"--label.*sick \(10.0%\)"),
        (["--resume", "nowhere"], "no interrupted run"),
    ],
)
def test_a_wrong_flag_is_one_line_with_status_2(folder, flags, message, here, monkeypatch):
    rows = "".join(f"{i},{int(i % 10 == 0)}\n" for i in range(100))
    (folder / "other.csv").write_text("x,sick\n" + rows)
    monkeypatch.chdir(folder)
    done = here("train", *flags, "--output_dir", "wrong")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
    assert not (folder / "wrong").exists()


def test_evaluate_scores_the_test_rows_alone_on_the_training_table(folder):
    train = ["--csv", "mesa_final.csv", "--output_dir", "judged", "--epochs", "3"]
    trained = run(RARETUNE, "train", *train, "--optimize_thresholds", "--json", cwd=folder)
    test = json.loads(trained.stdout)["test"]
    done = run(RARETUNE, "evaluate", "judged", "--csv", "mesa_final.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 400
    assert "only its test rows are scored" in found["note"]
    assert found["macro_f1"] == test["macro_f1"]
    assert found["intervals"] == test["intervals"]
    low, high = found["intervals"]["labels"]["apnea"]["roc_auc"]
    assert low < found["labels"]["apnea"]["roc_auc"] < high
    page = (folder / found["page"]).read_text()
    assert "restless leg" in page
    assert "<script src" not in page


def test_evaluate_on_another_table_scores_every_row_and_ignores_new_columns(folder):
    run(
        RARETUNE,
        "example",
        "mesa",
        "--rows",
        "600",
        "--seed",
        "9",
        "--output",
        "new.csv",
        cwd=folder,
    )
    lines = (folder / "new.csv").read_text().splitlines()
    lines = [f"{line},{'visited' if i == 0 else '2024-05-01'}" for i, line in enumerate(lines)]
    (folder / "new.csv").write_text("\n".join(lines) + "\n")
    train = ["--csv", "mesa_final.csv", "--output_dir", "judge2", "--epochs", "3"]
    run(RARETUNE, "train", *train, "--optimize_thresholds", cwd=folder)
    done = run(RARETUNE, "evaluate", "judge2", "--csv", "new.csv", "--output", "p.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "600 rows" in done.stdout
    assert (folder / "p.html").exists()
