"""Rows known again by their values: a short salted digest of each, which holds none of them.

The same row has the same digest in a CSV and in Parquet, packed or not, with other line ends, among
other rows and with its columns in another order or beside further ones.

    salt = salt_of(table.hash)
    digests = row_digests(table.columns, numbers, texts, table.labels, salt)
    known = KnownRows.of(digests, split.test, salt)
    known.trained_on(row_digests(other.columns, numbers, texts, other.labels, salt))

A digest is so short that very different rows share it: nothing is read back from it, though who has
the salt and knows all of a row but one cell may try that cell's values. Of a million rows against a
million some 200 are taken for known by chance.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainer.data.columns import as_numbers
from trainer.data.reading import MISSING_WORDS

SALT_BYTES = 16
DIGEST, STORED = np.dtype("<u4"), np.dtype("<i4")
LIKELY = 3.0  # standard deviations


@dataclass(frozen=True)
class KnownRows:
    """Digests of a checkpoint's own rows.

    salt  SALT_BYTES bytes
    used  (U,) uint32, sorted: the rows that it was trained on or that chose its epoch or thresholds
    test  (T,) uint32, sorted: its locked test rows
    """

    salt: bytes
    used: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, digests: np.ndarray, test: np.ndarray, salt: bytes) -> "KnownRows":
        """Keep the digests (N,) of a table's rows; `test` (T,) are the indices of its test rows."""
        return cls(salt, np.sort(np.delete(digests, test)), np.sort(digests[test]))

    def trained_on(self, digests: np.ndarray) -> np.ndarray:
        """Whether each row (N,) is one of those used; (N,) bool.

        Of rows with the values of both a used row and a test row, as many as there are such test
        rows are taken for these.
        """
        values, counts = np.unique(self.test, return_counts=True)
        free = pd.Series(counts, index=values).reindex(digests, fill_value=0).to_numpy()
        nth = pd.Series(digests).groupby(digests).cumcount().to_numpy()
        return np.isin(digests, self.used) & (nth >= free)

    def by_chance(self, digests: np.ndarray) -> bool:
        """Whether new rows would have the values of used ones as often as these rows (N,) do.

        So it is where few columns have few values. The test rows, which are new, tell how often;
        without any, the used ones among each other do.
        """
        found, n = int(np.isin(digests, self.used).sum()), len(digests)
        if len(self.test):
            share = float(np.isin(self.test, self.used).mean())
        else:
            _, same, count = np.unique(self.used, return_inverse=True, return_counts=True)
            share = float((count[same] > 1).mean())
        return found <= n * share + LIKELY * float(np.sqrt(n * share * (1 - share)))

    def is_same(self, other: "KnownRows") -> bool:
        """Whether both know the same rows with the same salt."""
        mine, theirs = self.to_arrays(), other.to_arrays()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of int32 by name; `from_arrays` takes them back."""
        salt = np.frombuffer(self.salt, dtype=STORED)
        return {"salt": salt, "used": self.used.view(STORED), "test": self.test.view(STORED)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "KnownRows":
        """Take back what `to_arrays` gave; raises ValueError for anything else."""
        if arrays.keys() != {"salt", "used", "test"}:
            raise ValueError(
                f"of its rows it has {', '.join(sorted(arrays))}, not salt, used, test"
            )
        for name, array in arrays.items():
            if array.dtype != STORED or array.ndim != 1:
                raise ValueError(f"its digests of rows, {name}, are not a row of int32")
        salt = arrays["salt"].tobytes()
        if len(salt) != SALT_BYTES:
            raise ValueError(f"the salt of its rows has {len(salt)} bytes, not {SALT_BYTES}")
        used, test = (np.sort(arrays[name].view(DIGEST)) for name in ("used", "test"))
        return cls(salt, used, test)


def salt_of(table_hash: str) -> bytes:
    """Return the salt of a table of this SHA-256, so that digests of two tables can't be compared.

    It is no secret: it makes useless what was computed beforehand.
    """
    return hashlib.blake2b(table_hash.encode(), digest_size=SALT_BYTES).digest()


def row_digests(
    columns: pd.DataFrame,
    numbers: Sequence[str],
    texts: Sequence[str],
    labels: np.ndarray,
    salt: bytes,
) -> np.ndarray:
    """Digest each of N rows: the named columns of a frame as trainer.data.reading reads it.

    numbers  names of number columns; they count to float32's seven digits, as files round them
    texts    names of text columns; an empty text and a word for missing count as missing
    labels   (N, L) 0.0 or 1.0
    salt     any bytes, at most 64; with another salt all digests are others
    returns  (N,) uint32

    Raises TableError when a column of `numbers` holds text.
    """
    values = np.hstack([as_numbers(columns, sorted(numbers)).T, labels]).astype("<f4") + 0.0
    values[np.isnan(values)] = np.nan  # one of the many
    width = values.itemsize * values.shape[1]
    packed = values.tobytes()
    cells = [_cells(columns[name]) for name in sorted(texts)]
    found = bytearray()
    for row in range(len(columns)):
        digest = hashlib.blake2b(
            packed[row * width : (row + 1) * width], key=salt, digest_size=DIGEST.itemsize
        )
        for column in cells:
            digest.update(column[row])
        found += digest.digest()
    return np.frombuffer(bytes(found), dtype=DIGEST)


def _cells(values: pd.Series) -> list[bytes]:
    """Each text of a column as bytes that tell where it ends."""
    places, texts = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)
    cells = []
    for text in texts:
        is_text = isinstance(text, str) and text not in MISSING_WORDS
        content = text.replace("\r\n", "\n").encode() if is_text else b""
        cells.append(len(content).to_bytes(8, "little") + content)
    return [cells[place] for place in places]
