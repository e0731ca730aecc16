"""Captions as words: the vocabulary of the training captions, and word vectors from a file."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xmr.captions import TextsRead, cut_alike, former_words_of, words_of

PAD, UNKNOWN = "<pad>", "<unk>"
MAX_WORDS = 128  # of a caption; the rest is cut off
WORDS_VERSION = (
    2  # of `words_of`, as vocabulary files tell it; a file that tells none was made with `former_words_of`
)


@dataclass(frozen=True)
class Vocabulary:
    """Words by their ids; the first two are padding and the unknown word. Raises ValueError on other lists.

    `former` says that the words were found by `former_words_of`, so captions and queries go on being read by it.
    """

    words: tuple[str, ...]
    former: bool = False

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

    def to_json(self) -> Any:
        """What a run's folder keeps."""
        return list(self.words) if self.former else {"words_of": WORDS_VERSION, "words": list(self.words)}

    @classmethod
    def from_json(cls, content: Any) -> Vocabulary:
        """What `to_json` made, or the bare list of words from before. Raises ValueError on anything else."""
        version = 1
        if isinstance(content, dict):
            version, content = content.get("words_of"), content.get("words")
        if not isinstance(content, list):
            raise ValueError("no list of words")
        if version not in (1, WORDS_VERSION):
            raise ValueError(f"words split by version {version!r}; this xmr knows 1 and {WORDS_VERSION}")
        return cls(tuple(content), former=version == 1)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def split(self, caption: str) -> list[str]:
        """The words of a caption as this vocabulary's were found."""
        return former_words_of(caption) if self.former else words_of(caption)

    def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids (N, L) int32 padded with 0, and lengths (N,) int64; a caption without words is one unknown word.

        Warns where captions have more than `MAX_WORDS` words, which are cut off.
        """
        rows = [[self._ids.get(word, 1) for word in self.split(caption)] or [1] for caption in captions]
        if cut := sum(len(row) > MAX_WORDS for row in rows):
            said = f"{cut:,} of {len(rows):,} captions are longer than {MAX_WORDS} words; the rest is cut off"
            warnings.warn(said, stacklevel=2)
        lengths = np.array([min(len(row), MAX_WORDS) for row in rows], np.int64)
        ids = np.zeros((len(rows), int(lengths.max(initial=1))), np.int32)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row[:MAX_WORDS]
        return ids, lengths

    def reading(self, captions: Sequence[str]) -> TextsRead:
        """How much of the captions is read: words that are not known, and captions that are cut."""
        rows = [self.split(caption) for caption in captions]
        cut, alike = cut_alike(
            (caption, tuple(row[:MAX_WORDS]), len(row) > MAX_WORDS)
            for caption, row in zip(captions, rows, strict=True)
            if len(row) >= MAX_WORDS
        )
        unknown = sum(word not in self._ids for row in rows for word in row)
        return TextsRead(len(rows), cut, alike, MAX_WORDS, "words", sum(map(len, rows)), unknown)


def read_vectors(path: str | Path, words: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Word vectors from JSON {word: [numbers]} or a text file: a word and its numbers per line, parted by spaces or tabs.

    Text as GloVe, word2vec and fastText write it: a first line with the count and length of the vectors is none of
    them, and a word may hold spaces (glove.840B has "at name@domain.com"). With `words`, only these and the first; with
    none, only the first, for its length. Raises ValueError, naming the line, where the file is neither or the lengths
    differ.
    """
    path = Path(path).expanduser()
    wanted = None if words is None else set(words)
    vectors: dict[str, np.ndarray] = {}
    length = 0
    try:
        with path.open("rb") as file:
            start = file.read(4).removeprefix(codecs.BOM_UTF8)
            file.seek(0)
            for where, word, values in (_entries if start[:1] == b"{" else _lines)(file, wanted):
                vector = _vector(values)
                if vector is None:
                    raise ValueError(f"{path}, {where}: the vector of {word!r} has to be finite numbers")
                if len(vector) != (length := length or len(vector)):
                    raise ValueError(
                        f"{path}, {where}: {word!r} has {len(vector)} numbers, the first {length}"
                    )
                vectors[word] = vector
                if wanted is not None and not wanted:
                    break
    except _BadLine as error:
        raise ValueError(f"{path}, {error}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the word vectors {path} can't be read: {error}") from error
    if not vectors:
        raise ValueError(f"the word vectors {path} are empty")
    return vectors


class _BadLine(ValueError):
    """A line that is no word with its numbers; the message begins with its number."""


def _entries(file: BinaryIO, wanted: set[str] | None) -> Iterator[tuple[str, str, Any]]:
    """(where, word, numbers) of a JSON object: the first entry, and those wanted."""
    for number, (word, values) in enumerate(json.loads(file.read().decode("utf-8-sig")).items(), 1):
        if wanted is None or word in wanted or number == 1:
            yield f"entry {number}", word, values


def _lines(file: BinaryIO, wanted: set[str] | None) -> Iterator[tuple[str, str, Any]]:
    """(where, word, fields) of the lines of a text file: the first one, and those wanted. Raises _BadLine."""
    length, first = 0, True
    for number, line in enumerate(file, 1):
        line = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"")
        if not line.strip():
            continue
        if length and line.count(b" ") + line.count(b"\t") < length:  # a file cut off ends with such a line
            raise _BadLine(f"line {number}: a word and {length} numbers are expected, found {_start(line)}")
        # Of millions of lines only those wanted are looked at: no word that is wanted has a space in it.
        if length and wanted is not None and not first and _text(line.split(None, 1)[0]) not in wanted:
            continue
        fields = re.split(rb"[ \t]+", line.rstrip())
        if number == 1 and len(fields) == 2 and fields[0].isdigit() and fields[1].isdigit():
            length = int(fields[1])  # the header of word2vec and fastText
            continue
        if not length:
            length = next(
                (i for i, one in enumerate(reversed(fields[1:])) if not _is_number(one)), len(fields) - 1
            )
        word = fields[:-length] if length else []
        if not word or not word[0] or (len(word) > 1 and _is_number(word[-1])):
            expected = f"a word and {length or 'its'} numbers are expected"
            raise _BadLine(f"line {number}: {expected}, found {_start(line)}")
        first = False
        yield f"line {number}", _text(b" ".join(word)), fields[-length:]


def _text(word: bytes) -> str:
    """A word as `words_of` writes it, but for its case; bytes that are no UTF-8 stay out of every vocabulary."""
    return word.decode() if word.isascii() else unicodedata.normalize("NFC", word.decode(errors="replace"))


def _start(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _vector(values: Any) -> np.ndarray | None:
    try:
        vector = np.array(values, np.float32)
    except (TypeError, ValueError):
        return None
    return vector if vector.ndim == 1 and len(vector) and np.isfinite(vector).all() else None
