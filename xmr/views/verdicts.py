"""What was judged of a list of pairs, and the way of answers from its cards to the server and back.

Answers, and undos, wait in the panel's outbox and are sent one after the other, so they arrive in the
order in which they were given; each has a key of its own, and what got no answer can be sent again under it. What
is sent carries `{"items": [{"key", "judge", "answer", "pair", "asked", "of"}], "shown": [pair]}` and is answered by a new value of the panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xmr.store import Answers
from xmr.views.suspect_order import ROUND
from xmr.views.values import Card
from xmr.workspace.verdict_file import VerdictFile

PEOPLE = 8  # who gave most verdicts, by name
FORGETS = (
    "This host forgets all verdicts when it restarts: take them with you by JSONL or CSV before you leave. "
    "You are asked when you leave with verdicts that were not exported."
)
SENT = (
    "All verdicts, with the names of who gave them, are also kept in the data set {} of the Hugging Face Hub."
)
UNSENT = "They can't be sent to the data set {} of the Hugging Face Hub at the moment: {}."


def kept_where(verdicts: VerdictFile) -> str:
    """What people have to know of where their verdicts are kept; "" where that is an ordinary file of this machine."""
    mirror, told = verdicts.mirror, FORGETS if verdicts.at_risk else ""
    if mirror is None:
        return told
    sent = UNSENT.format(mirror.name, mirror.fault) if mirror.fault else SENT.format(mirror.name)
    return f"{told} {sent}".strip()


def progress(by_me: np.ndarray, agreed: Mapping[str, int], answers: Answers, judge: str) -> dict[str, Any]:
    """How much of a list is judged: by the person `judge` ("": nobody), of whom `by_me` (N,) bool tells which pairs in the
    list's order, by anyone with what is agreed (pairs by answer), and how many verdicts each person gave on the split."""
    listed, mine = len(by_me), int(by_me.sum())
    start = (
        int(np.argmin(by_me)) // ROUND * ROUND if listed else 0
    )  # of the round with the first that is left
    part = by_me[start : start + ROUND]
    found = {"listed": listed, "mine": mine, "anyone": mine}
    found["round"] = f"{part.sum():,} of {len(part):,}" if judge and listed else ""
    if not answers.whole:
        words = f"You have judged {mine:,} of the {listed:,} listed pairs. " if judge else ""
        return found | {"words": f"{words}Counting what others said …"}
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
    return found | {"anyone": anyone, "words": words}


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
    seen: Mapping[tuple[int, int], Card] | None = None,
) -> dict[str, Any]:
    """The value of the panel: what stands for the name that was `typed`, which is
    kept as `judge` ("": it can't be, and `hint` says why); `marks` are the person's own answer and words on others', by
    pair; `kept` and `failed` tell what became of keys, `said` what was done, `back` which pair to look at again, and `seen`
    are the cards of pairs as they are to be seen now."""
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
        "cards": {f"{visual}:{text}": card.plain for (visual, text), card in (seen or {}).items()},
    }


def closed(reason: str, kept: Sequence[str] = (), failed: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The value of the panel where nothing can be judged, and why; `kept` and `failed` as of `panel`."""
    return {"closed": reason, "kept": list(kept), "failed": [list(one) for one in failed]}
