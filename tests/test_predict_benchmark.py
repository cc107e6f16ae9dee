import json
import sys

import pytest

from benchmarks import predict


def test_the_benchmark_of_predict_counts_rows_and_resources(monkeypatch, capsys):
    flags = ["--rows", "700", "--text", "3", "--rounds", "1", "--members", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["predict", *flags])
    predict.main()
    (point,) = json.loads(capsys.readouterr().out)
    assert point["rows"] == 700
    assert point["rows_per_s"] * point["predict"]["wall_s"] == pytest.approx(700)
    assert 0 < point["share_of_bound"] < 1
    assert point["ensemble_cpu_share"] > 0
    for side in ("predict", "ensemble", "bound"):
        assert point[side]["cpu_s"] > 0
        assert point[side]["peak_mb"] > 20


def test_a_drawn_csv_has_its_rows_columns_and_gaps(tmp_path):
    path = predict.write(tmp_path / "t.csv", 2 * predict.CHUNK + 5, 2, labelled=True)
    table = predict.csv.read_csv(path)
    assert table.num_rows == 2 * predict.CHUNK + 5
    assert table.num_columns == predict.COLUMNS + predict.LABELS
    assert 0.04 < table["x10"].null_count / len(table) < 0.06
    assert table["x11"].null_count == 0
    assert {str(table.schema.field(name).type) for name in ("t0", "t1")} == {"string"}
