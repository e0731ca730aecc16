"""What was judged of a list of pairs, and the way of answers from its cards to the server and back.

Answers, and undos, wait in the panel's outbox and are sent one after the other, so they arrive in the
order in which they were given; each has a key of its own, and what got no answer can be sent again under it. What
is sent carries `{"items": [{"key", "judge", "answer", "pair", "asked", "of"}], "shown": [pair]}` and is answered by a new value of the panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xmr.store import Answers

PEOPLE = 8  # who gave most verdicts, by name


def progress(
    listed: int, mine: int, agreed: Mapping[str, int], answers: Answers, judge: str
) -> dict[str, Any]:
    """How much of a list is judged: by the person `judge` ("": nobody), by anyone with what is agreed (pairs by answer),
    and how many verdicts each person gave on the split."""
    if not answers.whole:
        words = f"You have judged {mine:,} of the {listed:,} listed pairs. " if judge else ""
        return {
            "listed": listed,
            "mine": mine,
            "anyone": mine,
            "words": f"{words}Counting what others said …",
        }
    anyone, people = sum(agreed.values()), answers.people
    pairs = f"{listed:,} listed pair{'' if listed == 1 else 's'}"
    told = f" ({', '.join(f'{count:,} {answer}' for answer, count in agreed.items())})" if anyone else ""
    words = f"Of the {pairs} {anyone:,} {'is' if anyone == 1 else 'are'} judged by anyone{told}"
    words += f", {mine:,} by you." if judge else "."
    if not listed:
        words = "Nothing is listed."
    if people:
        some = ", ".join(f"{name} {count:,}" for name, count in people.most_common(PEOPLE))
        more = f" and {len(people) - PEOPLE:,} more people" if len(people) > PEOPLE else ""
        words += f" Verdicts on this split: {some}{more}."
    return {"listed": listed, "mine": mine, "anyone": anyone, "words": words}


def panel(
    answers: Answers,
    typed: str,
    judge: str,
    hint: str,
    of: Mapping[str, str],
    marks: Mapping[tuple[int, int], Sequence[str]],
    progress: Mapping[str, Any],
    kept: Sequence[str] = (),
    failed: Sequence[tuple[str, str]] = (),
    said: str = "",
    back: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The value of the panel: what stands for the name that was `typed`, which is
    kept as `judge` ("": it can't be, and `hint` says why); `marks` are the person's own answer and words on others', by
    pair; `kept` and `failed` tell what became of keys, `said` what was done, and `back` which pair to look at again."""
    return {
        "version": answers.version,
        "counted": answers.whole,
        "typed": typed,
        "judge": judge,
        "hint": hint,
        "of": dict(of),
        "marks": {f"{visual}:{text}": list(mark) for (visual, text), mark in marks.items()},
        "progress": dict(progress),
        "kept": list(kept),
        "failed": [list(one) for one in failed],
        "said": said,
        "back": f"{back[0]}:{back[1]}" if back else "",
    }


def closed(reason: str, kept: Sequence[str] = (), failed: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The value of the panel where nothing can be judged, and why; `kept` and `failed` as of `panel`."""
    return {"closed": reason, "kept": list(kept), "failed": [list(one) for one in failed]}
