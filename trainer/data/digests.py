"""Rows known again by their values: a short salted digest of each, which holds none of them.

The same row has the same digest in a CSV and in Parquet, packed or not, with other line ends, among
other rows and with its columns in another order or beside further ones.

    salt = new_salt()
    trained = row_digests(table.columns.iloc[split.train], numbers, texts, labels, salt)
    again = known(row_digests(other.columns, numbers, texts, other.labels, salt), trained)

A digest is so short that very different rows share it: nothing is read back from it, though who has
the salt and knows all of a row but one cell may try that cell's values. Of a million rows against a
million some 200 are taken for known by chance.
"""

import hashlib
import secrets
from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainer.data.columns import as_numbers
from trainer.data.reading import MISSING_WORDS

SALT_BYTES = 16
DIGEST = np.dtype("<u4")


def new_salt() -> bytes:
    """Return a random salt, so that no two checkpoints' digests can be compared."""
    return secrets.token_bytes(SALT_BYTES)


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


def known(digests: np.ndarray, of_rows: np.ndarray) -> np.ndarray:
    """Whether each digest (N,) is among those of other rows (M,), with the same salt; (N,) bool."""
    return np.isin(digests, of_rows)


def _cells(values: pd.Series) -> list[bytes]:
    """Each text of a column as bytes that tell where it ends."""
    places, texts = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)
    cells = []
    for text in texts:
        is_text = isinstance(text, str) and text not in MISSING_WORDS
        content = text.replace("\r\n", "\n").encode() if is_text else b""
        cells.append(len(content).to_bytes(8, "little") + content)
    return [cells[place] for place in places]
