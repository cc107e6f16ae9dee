import gzip
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from trainer.data import size
from trainer.data.reading import read_columns
from trainer.data.size import free_memory
from trainer.errors import TableError

TEXT = b"a,b\n" + b"1.5,yes\n" * 5000


@pytest.fixture
def free(monkeypatch):
    """Pretend that so many bytes are free."""

    def pretend(number):
        monkeypatch.setattr(size, "free_memory", lambda: number)

    return pretend


def write(path):
    if path.suffix == ".parquet":  # 8 bytes a number, and 3 bytes and where they lie of a text
        table = pa.table({"a": np.arange(5000.0), "b": ["yes"] * 5000})
        parquet.write_table(table, path, use_dictionary=False)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(TEXT))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("t.csv", TEXT)
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as packed:
            packed.write(TEXT)
    else:
        path.write_bytes(TEXT)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst", "t.zip", "t.parquet"])
def test_a_table_too_large_for_memory_is_refused_before_it_is_read(
    tmp_path, monkeypatch, free, name
):
    path = write(tmp_path / name)
    free(10**9)
    assert len(read_columns(path)) == 5000
    free(30_000)
    monkeypatch.setattr("trainer.data.files.text.csv.read_csv", None)
    monkeypatch.setattr("trainer.data.files.columnar.parquet.ParquetFile", None)
    with pytest.raises(TableError, match="too large for this machine") as caught:
        read_columns(path)
    assert "\n" not in str(caught.value)


def test_numbers_that_pack_well_count_as_what_they_become(tmp_path, free):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": np.zeros(10**6)}), path)
    assert path.stat().st_size < 10_000
    free(7 * 10**6)
    with pytest.raises(TableError, match="too large"):
        read_columns(path)


@pytest.mark.parametrize("members", [1, 3])
def test_what_is_packed_is_counted_over_all_members(tmp_path, members):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT * 40) * members)
    assert size._unpacked_bytes(path, 10**9) == len(TEXT) * 40 * members
    assert size._unpacked_bytes(path, 10**6) < 10**6 + 2 * size.PIECE


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\x1f\x8b"])
def test_a_broken_file_is_one_line(tmp_path, free, content):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(content)
    free(7)
    with pytest.raises(TableError, match=r"t\.csv\.gz"):
        read_columns(path)


def test_a_limit_of_the_container_or_the_user_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(size, "CGROUP_LIMITS", (limit,))
    limit.write_text("max\n")
    unlimited = free_memory()
    assert unlimited > 10**6
    limit.write_text("1000000\n")
    assert free_memory() == 10**6
    code = "from trainer.data.size import free_memory; print(free_memory())"
    limited = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(limited.stdout) < 2 * 10**9
