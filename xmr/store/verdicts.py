"""A verdict, the names of pairs that it is known by, and what several people agree on."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, NamedTuple

from xmr.data import Dataset
from xmr.registry import unknown

ANSWERS = ("yes", "no", "unsure")
JOINERS = "\u200c\u200d"  # invisible, but of some languages' spelling
JUDGE_LENGTH, ID_LENGTH, TEXT_LENGTH = 80, 4096, 1000  # characters


class Pair(NamedTuple):
    """What a verdict is on. Stays the same when the data is loaded again."""

    fingerprint: str  # of the split
    visual_id: str
    text_id: str


@dataclass(frozen=True)
class Verdict:
    """One person's answer on one pair, cleaned; `at` is when, in UTC, and run, selector and score tell where it was seen.

    The caption is there for people to read, shortened. Raises ValueError on an answer that there is not, a name or an
    id that is empty or too long, a time that is none, and a score that is not finite.
    """

    fingerprint: str
    dataset: str
    split: str
    visual_id: str
    text_id: str
    caption: str
    judge: str
    answer: str
    at: str = ""
    run: str = ""
    selector: str = ""
    score: float | None = None

    def __post_init__(self) -> None:
        clean: dict[str, Any] = {"judge": judge_name(self.judge)}
        for name in ("fingerprint", "visual_id", "text_id"):
            clean[name] = storable(getattr(self, name))
            if not 0 < len(clean[name]) <= ID_LENGTH:
                raise ValueError(
                    f"{name} must have 1 to {ID_LENGTH:,} characters, found {len(clean[name]):,}"
                )
        for name in ("dataset", "split", "caption", "run", "selector"):
            clean[name] = storable(getattr(self, name)[:TEXT_LENGTH])[:TEXT_LENGTH]
        clean["answer"] = self.answer[:TEXT_LENGTH].strip().lower()
        if clean["answer"] not in ANSWERS:
            raise ValueError(unknown("answer", self.answer[:40], ANSWERS))
        if self.at:
            clean["at"] = utc_time(self.at)
        if self.score is not None:
            clean["score"] = float(self.score)  # of NumPy's kinds no database and no JSON takes
            if not math.isfinite(clean["score"]):
                raise ValueError(f"score must be finite, found {self.score}")
        for name, value in clean.items():
            object.__setattr__(self, name, value)

    @property
    def pair(self) -> Pair:
        return Pair(self.fingerprint, self.visual_id, self.text_id)


COLUMNS = tuple(field.name for field in fields(Verdict))


def judge_name(text: str) -> str:
    """A person's name as it is kept: one line, without invisible characters. Raises ValueError if empty or too long."""
    name = _cleaned(text[: 100 * JUDGE_LENGTH])
    if not name:
        raise ValueError("a verdict needs the name of who gives it")
    if len(name) > JUDGE_LENGTH:
        raise ValueError(
            f"a name may have {JUDGE_LENGTH} characters, {name[:20]!r}… has {len(name):,} or more"
        )
    return name


# Letters of other alphabets above those of ours that they look like: capitals and small ones; then what looks alike in ours.
_LOOKS = str.maketrans(
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧАВЕКМНОРСТУХІЈЅ" + "аеорсухіјѕһԁԛԝвкмнтгьαβεηικμνορτυχωγıłøđħսօոհ",
    "ABEZHIKMNOPTYXABEKMHOPCTYXIJS" + "aeopcyxijshdqwbkmhtrbabenikmvoptuxwyilodhuonh",
)
_ALIKE = str.maketrans("0i1", "oll")


def likeness(name: str) -> str:
    """Equal for names that look alike: without regard to case, width, accents, marks between letters, and which of the
    Latin, Cyrillic, Greek and Armenian letters of one form, or digits, stand there.

    >>> likeness("Аnn  B.") == likeness("ANN-B")
    True
    """
    wide = unicodedata.normalize("NFKC", name)
    plain = unicodedata.normalize("NFKD", wide.translate(_LOOKS).casefold()).translate(_LOOKS)
    letters = (c for c in plain if (c.isalnum() or unicodedata.category(c)[0] == "M") and not _accent(c))
    return "".join(letters).translate(_ALIKE).replace("rn", "m").replace("vv", "w") or wide.casefold()


def _accent(character: str) -> bool:
    return "\u0300" <= character <= "\u036f"


@lru_cache
def _cleaned(text: str) -> str:
    kept = (c for c in text if c.isspace() or c in JOINERS or unicodedata.category(c)[0] != "C")
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()).strip(f" {JOINERS}"))


def storable(text: str) -> str:
    """`text` with what no file or database takes, NUL and halves of surrogate pairs, written as \\x00 and \\udc80."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def told_apart(ids: Iterable[str]) -> list[str]:
    """The ids, each once: one that was there before gets a number."""
    ids = list(ids)
    taken, seen = set(ids), {}
    names = []
    for name in ids:
        number = seen[name] = seen.get(name, 0) + 1
        own = name
        while number > 1 and (own := f"{name}~{number}") in taken:
            number += 1
        seen[name] = number
        taken.add(own)
        names.append(own)
    return names


Question = tuple[int, int]  # a visual, and the first of all texts that read alike: what a verdict is on


class PairNames:
    """Names of a split's pairs, by which verdicts find them again.

    A visual whose id is there already is told apart by a number; equal captions of one visual share their name.
    """

    def __init__(self, data: Dataset):
        self.data = data
        self.visuals = told_apart(map(storable, data.visual_ids))
        self._visual = {name: index for index, name in enumerate(self.visuals)}
        self._asked: dict[Pair, Question | None] = {}

    def text(self, index: int) -> str:
        """The visual that it was written for, and a hash of its words."""
        words = self.data.captions[index].encode("utf-8", "surrogatepass")
        own = self.visuals[self.data.visual_of_text[index]]
        return f"{own}#{hashlib.blake2b(words, digest_size=6).hexdigest()}"

    def pair(self, visual: int, text: int) -> Pair:
        return Pair(self.data.fingerprint, self.visuals[visual], self.text(text))

    def question(self, pair: Pair) -> Question | None:
        """What a verdict on the pair answers, for all texts that read alike; None where it is no pair of this split."""
        if pair.fingerprint != self.data.fingerprint:
            return None
        if pair not in self._asked:
            visual, own = self._visual.get(pair.visual_id), self._visual.get(pair.text_id.rpartition("#")[0])
            texts = [] if visual is None or own is None else self.data.texts_of(own).tolist()
            found = (int(self.data.reading[text]) for text in texts if self.text(text) == pair.text_id)
            first = next(found, None)
            self._asked[pair] = None if first is None else (visual, first)
        return self._asked[pair]

    def verdict(self, visual: int, text: int, judge: str, answer: str, **seen: Any) -> Verdict:
        """A verdict on the pair of two indices; `seen` are `run`, `selector` and `score`. Raises as `Verdict`."""
        pair, data = self.pair(visual, text), self.data
        return Verdict(
            *pair[:1], data.name, data.split, *pair[1:], data.captions[text], judge, answer, **seen
        )


class Tally(NamedTuple):
    """How many people gave each answer on a pair."""

    yes: int
    no: int
    unsure: int

    @classmethod
    def of(cls, answers: Iterable[str]) -> Tally:
        given = list(answers)
        return cls(*map(given.count, ANSWERS))

    @property
    def answer(self) -> str:
        """What most of them say; "unsure" where two answers tie for it."""
        most = max(self)
        return ANSWERS[self.index(most)] if self.count(most) == 1 else "unsure"


def utc_time(text: str) -> str:
    """A time as it is kept. Raises ValueError on what is none."""
    try:
        return utc(datetime.fromisoformat(text.strip().replace("Z", "+00:00")))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"at is no time such as 2026-01-31T12:00:00+00:00: {text[:40]!r}") from error


def utc(at: datetime) -> str:
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds")
