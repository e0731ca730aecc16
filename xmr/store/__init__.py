"""Verdicts: what people say of suspected false negatives, kept in one SQLite file, and used in training and evaluation.

A verdict is one person's answer, "yes" (the pair matches: a false negative), "no" or "unsure", on one pair of a visual
and a caption. Nothing in the file is ever changed: an undo is an event as well, and the verdict of a person on a pair is
their last one that is not undone. A write is on disk before `record` returns (write-ahead log, full synchronisation), so
a process that is killed loses nothing that it was told is kept; several processes and threads may write at once.

A pair is known by the fingerprint of its split, the visual's id, and the id of the caption: the id of the visual that it
was written for and a hash of its words. So a verdict stays valid when a dataset is loaded again, and is foreign to data of
which anything has changed. It counts for all captions that read alike.

    with VerdictStore("verdicts.sqlite") as store:
        store.record(PairNames(data).verdict(visual, text, "Ann", "yes"), key=request_id)
"""

from xmr.store.database import StoreRefused, VerdictStore
from xmr.store.files import as_csv, as_jsonl, export, read_verdicts, verdicts_digest
from xmr.store.judged import Judged, among, credited, judged
from xmr.store.standing import Answers, Standing, Standings, standing
from xmr.store.verdicts import ANSWERS, Pair, PairNames, Question, Tally, Verdict, judge_name

__all__ = [
    "ANSWERS",
    "Answers",
    "Judged",
    "Pair",
    "PairNames",
    "Question",
    "Standing",
    "Standings",
    "StoreRefused",
    "Tally",
    "Verdict",
    "VerdictStore",
    "among",
    "as_csv",
    "as_jsonl",
    "credited",
    "export",
    "judge_name",
    "judged",
    "read_verdicts",
    "standing",
    "verdicts_digest",
]
