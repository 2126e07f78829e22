"""Sentence vectors that are computed once, on disk between runs."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dspy_router.routing.encoders import Encoder, encode

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS vectors "
    "(encoder TEXT, text TEXT, vector BLOB, PRIMARY KEY (encoder, text)) WITHOUT ROWID"
)
_CHUNK = 512
_VARIABLES = 500  # bound variables a statement; SQLite's own limit was 999 for long


class CachedEncoder:
    """An encoder that remembers: the same vectors as the encoder it stands before, computed once for each text.

    Vectors are filed under the encoder's fingerprint, so another encoder, or the same one with other weights, never
    sees them. A text's vector may differ from one computed in another batch by rounding alone (some 1e-7).
    """

    def __init__(self, encoder: Encoder, folder: Path | None = None) -> None:
        """Stand before an encoder.

        Args:
            encoder: A frozen one.
            folder: Where the vectors are kept; None keeps them in memory only.
        """
        if getattr(encoder, "trainable", False):
            raise ValueError("Vectors of an encoder that trains cannot be cached: they change with its weights.")
        self.encoder = encoder
        self._fingerprint = encoder.fingerprint
        self._memory: dict[str, Tensor] = {}
        self._path = None if folder is None else folder / "vectors.sqlite"

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self.encoder.dim

    @property
    def fingerprint(self) -> str:
        """That of the encoder behind."""
        return self._fingerprint

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts."""
        self.prepare(texts)
        return torch.stack([self._memory[text] for text in texts]) if texts else torch.empty(0, self.dim)

    def prepare(self, texts: Sequence[str], *, progress: bool = False) -> float:
        """See to it that these texts' vectors are in memory.

        Returns:
            Seconds that were spent encoding what had never been encoded.
        """
        missing = list(dict.fromkeys(text for text in texts if text not in self._memory))
        if not missing:
            return 0.0
        if self._path is not None:
            self._read(self._path, missing)
            missing = [text for text in missing if text not in self._memory]
        seconds = 0.0
        # Texts of one length are encoded together, and what is done is written down: a killed run loses one chunk.
        missing.sort(key=len)
        chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
        for chunk in tqdm(chunks, desc="encoding", unit_scale=_CHUNK, unit="text", delay=2, disable=not progress):
            started = time.perf_counter()
            vectors = encode(self.encoder, chunk)
            seconds += time.perf_counter() - started
            self._memory.update(zip(chunk, vectors, strict=True))
            if self._path is not None:
                self._write(self._path, chunk)
        return seconds

    def _read(self, path: Path, texts: Sequence[str]) -> None:
        by_key = {_key(text): text for text in texts}
        with closing(_connect(path)) as connection:
            every = list(by_key)
            for keys in (every[start : start + _VARIABLES] for start in range(0, len(every), _VARIABLES)):
                marks = ",".join("?" * len(keys))
                query = f"SELECT text, vector FROM vectors WHERE encoder = ? AND text IN ({marks})"
                for key, blob in connection.execute(query, (self._fingerprint, *keys)):
                    self._memory[by_key[key]] = torch.from_numpy(np.frombuffer(blob, dtype=np.float32).copy())

    def _write(self, path: Path, texts: Sequence[str]) -> None:
        rows = ((self._fingerprint, _key(text), self._memory[text].numpy().tobytes()) for text in texts)
        with closing(_connect(path)) as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", rows)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60)  # several benchmarks may run at once
    connection.execute(_SCHEMA)
    return connection


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
