"""What earlier versions wrote still loads. tests/frozen was written once, by the version before disk.py, and stays as it is.

trained/ (runs of three losses and a combination, on data/), stopped/ (a training on `tests.tiny` killed after 5 steps),
verdicts.* (six verdicts, two of which were taken back), links.json (addresses and what they set).
"""

import json
import shutil
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest

from tests import tiny
from xmr.checkpoints import list_runs, load_run
from xmr.data import load_dataset
from xmr.embedding import embed_dataset, embed_texts
from xmr.store import VerdictStore, read_verdicts
from xmr.workspace import Workspace

FROZEN = Path(__file__).parent / "frozen"
RSUM = {"info_nce": 262.5, "max_of_hinges-token_max": 329.2, "mean": 266.7, "siglip": 197.9}


def test_runs_and_combinations_load_with_what_they_told():
    runs, faults = list_runs(FROZEN / "trained")
    assert faults == []
    assert {run.name: round(run.metrics["test"]["rsum"], 1) for run in runs} == RSUM
    blend = load_run(FROZEN / "trained" / "mean")
    assert [member.run.name for member in blend.members] == ["info_nce", "siglip"]
    assert [len(run.history) for run in runs if run.name != "mean"] == [3, 2, 3]


@pytest.mark.parametrize("name", sorted(RSUM))
def test_runs_embed_as_they_did(name):
    run, data = load_run(FROZEN / "trained" / name), load_dataset(str(FROZEN / "data"), "test")
    assert run.dataset["fingerprints"]["test"] == data.fingerprint
    for ours, theirs in zip(embed_dataset(run, data), run.embeddings(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # kept in half precision
    np.testing.assert_allclose(embed_texts(run, data.captions[:3]), run.embeddings()[1][:3], atol=2e-3)


def test_the_app_compares_them_on_their_data():
    workspace = Workspace.open(FROZEN / "trained", str(FROZEN / "data"))
    assert (sorted(workspace.runs), workspace.problem, workspace.faults) == (sorted(RSUM), "", [])


def test_a_stopped_training_goes_on(tmp_path):
    folder = shutil.copytree(FROZEN / "stopped", tmp_path / "run")
    steps, trained = tiny.fit(tiny.config(loss="siglip", epochs=3), folder, resume=True)
    assert [step.step for step in steps] == list(range(5, 13))  # the state is of the first epoch's end
    assert trained.metrics["test"]["rsum"] > 160  # chance is about 130
    assert load_run(folder).history[0] == json.loads((FROZEN / "stopped" / "history.jsonl").read_text())


def test_verdicts_are_read_from_all_kinds_of_files(tmp_path):
    kept = {(*verdict.pair, verdict.judge): verdict for verdict in read_verdicts(FROZEN / "verdicts.jsonl")}
    assert sorted((pair[1], pair[3], verdict.answer) for pair, verdict in kept.items()) == [
        ("test-0", "Ada", "yes"), ("test-0", "Bo", "yes"), ("test-1", "Ada", "no"), ("test-2", "Bo", "unsure"),
    ]  # fmt: skip
    assert {verdict.caption for verdict in kept.values()} == {"a réd “dog”, =1"}
    for name in ("verdicts.csv", "verdicts.sqlite"):
        found = read_verdicts(shutil.copy(FROZEN / name, tmp_path))  # SQLite writes beside what it reads
        assert {(*verdict.pair, verdict.judge): verdict for verdict in found} == kept
    with VerdictStore(tmp_path / "verdicts.sqlite") as store:
        assert {(*verdict.pair, verdict.judge): verdict for verdict in store.verdicts()} == kept


def test_links_of_version_1_set_what_they_set(tmp_path, cache_folder):
    from tests.fake_workspace import make_workspace
    from xmr.views import TABS, view
    from xmr.views.state import read, written
    from xmr.workspace.pages import Page

    workspace = make_workspace(tmp_path)
    pages = [Page("fake", "", dict(workspace.runs), lambda: workspace)]
    links = json.loads((FROZEN / "links.json").read_text(encoding="utf-8"))
    for link in links:
        asked = parse_qs(link["address"][1:])
        state, faults = read(asked)
        assert faults == [] and written(state)["tab"] == link["tab"], link["address"]
        found = view(pages, asked)
        assert found["said"] == [] and found["blocks"], link["address"]
        for held in (written(state), found["state"]):  # as it is read, and as it is shown
            assert {key: held[key] for key in link["sets"]} == link["sets"], link["address"]
    assert {link["tab"] for link in links} == set(TABS)
