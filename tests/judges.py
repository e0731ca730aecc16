"""What tests of judging share: a workspace with verdicts of its own, its pairs, and answers as a browser sends them."""

from __future__ import annotations

from dataclasses import replace

from tests.fake_workspace import make_workspace
from xmr.captions import text_key
from xmr.store import VerdictStore
from xmr.views.suspect_lists import Asked
from xmr.views.suspect_pages import judge_pairs
from xmr.workspace.measurements import hard_negatives
from xmr.workspace.verdict_file import VerdictFile

RUN, SPLITS = "siglip", ["test", "validation", "train"]
SETTINGS = {"caption_similarity": {"threshold": 0.4}, "word_overlap": {"threshold": 0.6}}


def with_store(tmp_path, name="verdicts.sqlite", **how):
    """A fake workspace whose verdicts lie in a file of its own."""
    workspace = make_workspace(tmp_path)
    workspace.verdicts = VerdictFile(tmp_path / name, **how)
    return workspace


def asked_of(run=RUN, **changes):
    return replace(Asked(run, "test", "t2v", SETTINGS), **changes)


def pairs_on(workspace, run=RUN):
    """The run's hard negatives (visual, text), in their order."""
    found = hard_negatives(workspace, run, "test", "t2v")
    return list(zip(found.candidate.tolist(), found.query.tolist(), strict=True))


def question_of(workspace, pair):
    """What a pair asks, slowly: its visual and the words."""
    return pair[0], text_key(workspace.dataset("test").captions[pair[1]])


def listed_pairs(workspace, run=RUN):
    """The run's hard negatives without those whose text reads like one before of the same visual: (place, pair)."""
    seen, found = set(), []
    for place, pair in enumerate(pairs_on(workspace, run)):
        if question_of(workspace, pair) not in seen:
            found.append((place, pair))
        seen.add(question_of(workspace, pair))
    return found


def sent(*answers, judge="Ann", run=RUN, shown=()):
    """What a browser sends: (key, answer, pair) each."""
    of = {"run": run, "split": "test", "direction": "t2v"}
    items = [{"key": key, "judge": judge, "answer": a, "pair": list(p), "of": of} for key, a, p in answers]
    return {"items": items, "shown": [list(pair) for pair in shown]}


def judge(workspace, *answers, name="Ann", shown=(), **changes):
    data = sent(*answers, judge=name, shown=shown)
    asked = asked_of(judge=name, **{"owner": f"browser of {name}", **changes})
    return judge_pairs(workspace, asked, name, data, SPLITS)


def kept(workspace):
    """What stands, read by somebody else: (person, visual id, answer)."""
    with VerdictStore(workspace.verdicts.place) as store:
        return [(one.judge, one.visual_id, one.answer) for one in store.verdicts()]
