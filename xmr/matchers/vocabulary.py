"""Captions as words: the vocabulary of the training captions, and word vectors from a file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

PAD, UNKNOWN = "<pad>", "<unk>"
MAX_WORDS = 128  # of a caption; the rest is cut off
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(caption: str) -> list[str]:
    """The words of a caption, lower-case, without punctuation; an apostrophe stays inside a word."""
    return _WORD.findall(caption.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Words by their ids; the first two are padding and the unknown word. Raises ValueError on other lists."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[:2] != (PAD, UNKNOWN):
            raise ValueError(f"a vocabulary begins with {PAD} and {UNKNOWN}, found {list(self.words[:2])}")
        if not all(isinstance(word, str) for word in self.words) or len(set(self.words)) != len(self.words):
            raise ValueError("the words of a vocabulary must be different strings")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int) -> Vocabulary:
        """The words that occur at least `min_count` times, most frequent first, ties by the alphabet."""
        counts = Counter(word for caption in captions for word in words_of(caption))
        kept = sorted((word for word, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls((PAD, UNKNOWN, *kept))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids (N, L) int32 padded with 0, and lengths (N,) int64; a caption without words is one unknown word."""
        rows = [
            [self._ids.get(word, 1) for word in words_of(caption)[:MAX_WORDS]] or [1] for caption in captions
        ]
        lengths = np.array([len(row) for row in rows], np.int64)
        ids = np.zeros((len(rows), int(lengths.max(initial=1))), np.int32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return ids, lengths


def read_vectors(path: str | Path, words: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Word vectors from GloVe's text format (a word and its numbers per line) or JSON {word: [numbers]}.

    With `words`, only these and the first; with none, only the first, for its length. Raises ValueError, naming the line, where the file is neither or the lengths differ.
    """
    path = Path(path).expanduser()
    wanted = None if words is None else set(words)
    vectors: dict[str, np.ndarray] = {}
    try:
        with path.open(encoding="utf-8") as file:
            if file.read(1) == "{":
                file.seek(0)
                pairs: Iterable[tuple[str, list[float]]] = json.load(file).items()
            else:
                file.seek(0)
                pairs = (tuple(line.rstrip().split(" ", 1)) for line in file)  # type: ignore[misc]
            for number, pair in enumerate(pairs, 1):
                where = f"{path}, line or entry {number}"
                if len(pair) != 2:
                    raise ValueError(f"{where}: a word and its numbers are expected")
                word, values = pair
                if wanted is None or word in wanted or not vectors:
                    vector = _vector(values)
                    if vector is None:
                        raise ValueError(f"{where}: the vector of {word!r} has to be finite numbers")
                    if vectors and len(vector) != len(next(iter(vectors.values()))):
                        raise ValueError(f"{where}: {word!r} has {len(vector)} numbers, others another count")
                    vectors[word] = vector
                    if wanted is not None and not wanted:
                        break
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the word vectors {path} can't be read: {error}") from error
    if not vectors:
        raise ValueError(f"the word vectors {path} are empty")
    return vectors


def _vector(values: str | list[float]) -> np.ndarray | None:
    try:
        vector = np.array(values.split() if isinstance(values, str) else values, np.float32)
    except (TypeError, ValueError):
        return None
    return vector if vector.ndim == 1 and len(vector) and np.isfinite(vector).all() else None
