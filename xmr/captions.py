"""What captions are made of, read one way everywhere: their words, when two of them read alike, and how much of them a
text tower reads."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import regex

STOPS = ".。．｡।॥۔…!！?？"  # what may end a sentence

# Letters of scripts that put no spaces between words, each a word with its marks: Chinese, Japanese, Yi, Balinese,
# Javanese, and what Unicode calls complex context dependent (Thai, Lao, Khmer, Myanmar, Tai …).
_UNSPACED = r"[[\p{L}\p{Nl}]&&[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{Line_Break=SA}\p{sc=Yiii}\p{sc=Bali}\p{sc=Java}]]"
_STACKS = r"(?<=[\u1039\u17d2\u1a60\u1b44\ua9c0])"  # signs that set the next letter below the one before
_MARKS = r"[\p{M}\u200c\u200d]*"  # and the joiners, which choose between forms of a letter
_LETTERS = rf"[[\p{{L}}\p{{N}}]--{_UNSPACED}][[\p{{L}}\p{{N}}\p{{M}}\u200c\u200d]--{_UNSPACED}]*"
_WORD = regex.compile(
    rf"{_LETTERS}(?:['’׳״]{_LETTERS})*|{_UNSPACED}{_MARKS}(?:{_STACKS}{_UNSPACED}{_MARKS})*", regex.V1
)
# What is not seen and says nothing: soft hyphens, marks of direction, variants of a glyph. Not U+200B, which parts words.
_UNSEEN = regex.compile(r"[[\p{Cf}\p{Variation_Selector}]--[\u200b\u200c\u200d]]", regex.V1)
SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Kannada", "Malayalam",
    "Gujarati", "Gurmukhi", "Sinhala", "Thai", "Lao", "Khmer", "Myanmar", "Han", "Hiragana", "Katakana", "Hangul", "Armenian",
    "Georgian", "Ethiopic",
)  # fmt: skip
_LATIN = re.compile("[A-Za-z]")
_FORMER_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(caption: str) -> list[str]:
    """The words of a caption, lower-case and in NFC, without punctuation; an apostrophe stays inside a word.

    Marks (vowel signs, points, accents) belong to their word. Where a script puts no spaces between words, each
    character with its marks is one. Turkish İ is i.

    >>> words_of("The dog's RED-hot café; 红猫 2")
    ['the', "dog's", 'red', 'hot', 'café', '红', '猫', '2']
    """
    if caption.isascii():
        return former_words_of(caption)  # the same there, and five times as fast
    return _WORD.findall(_lower(unicodedata.normalize("NFC", _UNSEEN.sub("", caption)).lower()))


def former_words_of(caption: str) -> list[str]:
    """The words as vocabularies were built until their files told how: cut at every mark, a line of Chinese one word."""
    return _FORMER_WORD.findall(caption.lower())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a text stand in it as it is written, by the rules of `words_of`: start and end of each.

    >>> word_spans("A red-hot dog.")
    [(0, 1), (2, 5), (6, 9), (10, 13)]
    """
    return [found.span() for found in _WORD.finditer(text)]


def text_key(caption: str) -> str:
    """Equal for captions that read alike: NFC, without regard to case, white space and what ends the sentence.

    >>> text_key("A  dog. ") == text_key("a dog")
    True
    """
    words = _lower(unicodedata.normalize("NFC", caption).casefold()).split()
    key = " ".join(words)
    return key.rstrip(STOPS + " ") or key


def first_alike(captions: Sequence[str]) -> np.ndarray:
    """Of each caption the place of the first that reads alike, (N,) int64."""
    first: dict[str, int] = {}
    keys = map(text_key, captions)
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], np.int64)


def scripts_of(caption: str) -> set[str]:
    """The scripts that a caption's letters are of, by their names in Unicode; "other" for rare ones.

    >>> sorted(scripts_of("Кот, a cat 2"))
    ['Cyrillic', 'Latin']
    """
    return {"Latin"} if caption.isascii() and _LATIN.search(caption) else set(map(_script, caption)) - {""}


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """ "" for what is no letter, or one of several scripts."""
    if not character.isalpha() or regex.match(r"\p{sc=Common}|\p{sc=Inherited}", character):
        return ""
    return next((name for name in SCRIPTS if regex.match(rf"\p{{sc={name}}}", character)), "other")


def _lower(lowered: str) -> str:
    """NFC of what `lower` or `casefold` made, which leave a second dot on the i of a Turkish İ."""
    return unicodedata.normalize("NFC", lowered.replace("i\u0307", "i"))


@dataclass(frozen=True)
class TextsRead:
    """How much of some texts a text tower reads.

    `cut` of the `texts` are longer than the `limit` words or tokens (`unit`) that it reads, and `alike` of these differ
    from others only in what is cut off. Of all `words`, `unknown` are not in its vocabulary; there are none
    to tell of towers that were trained on everything.
    """

    texts: int
    cut: int
    alike: int
    limit: int
    unit: str
    words: int = 0
    unknown: int = 0

    @property
    def said(self) -> str:
        """What a reader should know, in words: unknown words as a share, cut texts if there are any."""
        parts = []
        if self.words:
            share = f"{100 * self.unknown / self.words:.1f} %"
            parts.append(f"{self.unknown:,} of {self.words:,} words unknown ({share})")
        if self.cut:
            parts.append(f"{self.cut:,} of {self.texts:,} captions cut off after {self.limit} {self.unit}")
        if self.alike:
            parts.append(f"{self.alike:,} of them no longer different from another")
        return ", ".join(parts)


def cut_alike(read: Iterable[tuple[str, Hashable, bool]]) -> tuple[int, int]:
    """How many texts are cut, and how many of these read as another text does that is not `text_key`-equal.

    `read` has of each text: itself, what is read of it, and whether that is less than all.
    """
    cut = 0
    groups: dict[Hashable, list[tuple[str, bool]]] = defaultdict(list)
    for text, seen, longer in read:
        cut += longer
        groups[seen].append((text, longer))
    alike = 0
    for group in groups.values():
        if any(longer for _, longer in group) and len({text_key(text) for text, _ in group}) > 1:
            alike += sum(longer for _, longer in group)
    return cut, alike
