"""Runs on the Hub, read and pushed, on a Hub of this machine; every fault is one sentence."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import app
from scripts import combine, compare, evaluate, flag, report, train
from tests import tiny
from tests.test_scripts import SMALL, command
from xmr import hub as ours
from xmr.checkpoints import RunRefused, list_runs, load_run
from xmr.hub import HubFault, Repository, push
from xmr.views import TABS, view
from xmr.workspace.pages import open_pages, take_in

SHIPPED = Path(__file__).parent.parent / "checkpoints"
WRITER = Repository("me/loss")


def laid(hub, name, *runs, revision="main", more=("model.bin", "run.py")):
    """Shipped runs in a repository: one at its top, several as folders; and files that are nobody's."""
    folder = hub.folder("model", name, revision)
    for run in runs:
        shutil.copytree(SHIPPED / run, folder if len(runs) == 1 else folder / run)
    for other in more:
        (folder / other).write_text("not a run's")
    return folder


def test_a_repository_is_a_run_pinned_and_without_other_files(hub):
    laid(hub, "me/loss", "info_nce")
    laid(hub, "me/loss", "siglip", revision="v1")
    run = load_run("hf-hub:me/loss")
    assert (run.name, run.config.loss, run.path.name) == ("loss", "info_nce", hub.commit("model", "me/loss"))
    assert run.embeddings()[0].shape == (1000, 48)
    assert load_run("hf-hub:me/loss@v1").config.loss == "siglip"
    assert not any(asked.endswith(("model.bin", "run.py")) for asked in hub.asked)
    hub.close()
    hub.asked.clear()
    assert (
        load_run(f"hf-hub:me/loss@{run.path.name}").path == run.path
    )  # what is pinned and here needs no network


def test_several_runs_are_folders_of_a_repository(hub):
    laid(hub, "me/losses", "info_nce", "siglip")
    runs, faults = list_runs("hf-hub:me/losses")
    assert [run.name for run in runs] == ["info_nce", "siglip"] and not faults


def test_what_was_altered_is_refused(hub):
    folder = laid(hub, "me/loss", "info_nce")
    content = bytearray((folder / "matcher.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "matcher.safetensors").write_bytes(content)
    with pytest.raises(RunRefused, match="its SHA-256 is not the one that the run tells"):
        load_run("hf-hub:me/loss")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf-hub:me/nothing", "me/nothing: no such model on the Hub, or a private one: `hf auth login`"),
        ("hf-hub:me/loss@v9", "me/loss@v9: there is no such revision of the model"),
        (
            "hf-hub:loss",
            "'hf-hub:loss' is no address on the Hub; write hf-hub:ORG/NAME, with @REVISION where needed",
        ),
        ("hf-hub:me/../../etc", "is no address on the Hub"),
    ],
)
def test_what_is_not_there_is_told(hub, address, said):
    laid(hub, "me/loss", "info_nce")
    with pytest.raises(RunRefused) as error:
        load_run(address)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert said in list_runs(address)[1][0].reason


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on data that is read in no time."""
    data, out = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny"), tmp_path_factory.mktemp("runs")
    assert train.main(command(data, out, loss="info_nce siglip")) == 0
    return out


def test_scripts_and_the_app_take_a_repository_for_a_folder(hub, runs, tmp_path, capsys):
    shutil.copytree(runs, hub.folder("model", "me/losses"))
    commit = hub.commit("model", "me/losses")
    assert evaluate.main(["hf-hub:me/losses"]) == 0
    said = capsys.readouterr()
    assert (
        f"fetched hf-hub:me/losses@{commit}" in said.err and "info_nce" in said.out and "siglip" in said.out
    )
    assert flag.main(["hf-hub:me/losses", "--limit", "20"]) == 2
    assert "is a folder of 2 runs; name one" in capsys.readouterr().err
    shutil.copytree(runs / "siglip", hub.folder("model", "me/loss"))
    assert flag.main(["hf-hub:me/loss", "--limit", "20"]) == 0
    assert capsys.readouterr().out.startswith("visual,")
    assert combine.main(["hf-hub:me/losses", "--rule", "mean"]) == 2
    assert "are copied beside their combination: name its folder with --out" in capsys.readouterr().err
    made = tmp_path / "runs/both"
    assert combine.main(["hf-hub:me/losses", "--rule", "mean", "--out", str(made)]) == 0
    assert {member.run.path.parent for member in load_run(made).members} == {tmp_path / "runs"}
    page = tmp_path / "page.html"
    assert report.main(["hf-hub:me/losses", "hf-hub:me/loss", "--out", str(page)]) == 0
    assert "report.py hf-hub:me/losses" in page.read_text() and str(tmp_path) not in page.read_text()
    with pytest.raises(
        SystemExit, match="--checkpoints hf-hub:me/nothing: me/nothing: no such model on the Hub"
    ):
        app.main(["--checkpoints", "hf-hub:me/nothing"])


@pytest.fixture
def folder(tmp_path):
    for name in ("run.json", "a.safetensors", "b.safetensors", "sub/c.safetensors"):
        path = tmp_path / "pushed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the content of {name}")
    return tmp_path / "pushed"


def test_only_what_changed_is_pushed_and_what_is_gone_is_deleted(hub, folder):
    first = push(folder, WRITER, "first", private=True)
    assert first.changed and first.address == f"{hub.address}/me/loss"
    assert hub.private["model", "me/loss"]
    assert hub.files("model", "me/loss").keys() == {
        "run.json",
        "a.safetensors",
        "b.safetensors",
        "sub/c.safetensors",
    }
    hub.asked.clear()
    again = push(folder, WRITER, "again")
    assert (again.commit, again.changed) == (first.commit, False)
    assert not any("/commit/" in asked for asked in hub.asked)
    (folder / "sub/c.safetensors").unlink()
    (folder / "a.safetensors").write_text("other")
    hub.asked.clear()
    third = push(folder, WRITER, "third", ours=["sub/*"])
    assert third.changed and hub.files("model", "me/loss")["a.safetensors"] == b"other"
    assert "sub/c.safetensors" not in hub.files("model", "me/loss")
    assert sum(asked.startswith("PUT") for asked in hub.asked) == 1


def test_a_push_that_broke_off_goes_on(hub, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.faults.append(["PUT", hashlib.sha256((folder / "b.safetensors").read_bytes()).hexdigest(), "cut", 99])
    with pytest.raises(
        HubFault, match=r"me/loss can't be pushed to the Hub: .*; do it again, and it goes on from there$"
    ):
        push(folder, WRITER, "first")
    there = set(hub.large)
    assert not hub.files("model", "me/loss") and there  # nothing is half there
    hub.faults.clear()
    hub.asked.clear()
    assert push(folder, WRITER, "first").changed
    assert len(hub.files("model", "me/loss")) == 4
    assert {asked[9:] for asked in hub.asked if asked.startswith("PUT")} == set(hub.large) - there


@pytest.mark.parametrize(
    ("token", "fault", "said"),
    [
        (
            "",
            None,
            "me/loss can't be pushed: no token of the Hub is known here; `hf auth login`, or set HF_TOKEN",
        ),
        (
            "hf_wrong",
            None,
            "me/loss can't be pushed to the Hub: it does not take the token; log in anew: `hf auth login`",
        ),
        ("hf_may_read", None, "the token may not do that; one with the right to write is needed"),
        (
            "hf_may_write",
            ["POST", "create", 429, 99],
            "it was asked too often; wait some minutes and do it again",
        ),
        ("hf_may_write", ["GET", "whoami", 500, 99], "500"),
    ],
)
def test_why_a_push_is_refused_is_told_in_a_sentence(hub, folder, monkeypatch, token, fault, said):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", token)
    hub.faults += [fault] if fault else []
    with pytest.raises(HubFault) as error:
        push(folder, WRITER, "first")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_who_asks_too_often_waits_and_goes_on(hub, folder, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    hub.faults.append(["POST", "preupload", 429, 2])
    assert push(folder, WRITER, "first").changed and len(waits) >= 2


def test_without_a_network_nothing_is_tried(hub, folder):
    hub.close()
    with pytest.raises(HubFault, match="me/loss can't be pushed: the Hub can't be reached \\("):
        push(folder, WRITER, "first")
    with pytest.raises(RunRefused, match="me/loss is not on this machine, and the Hub can't be reached \\("):
        load_run("hf-hub:me/loss")
    assert ours.unreachable()


def test_a_server_fetches_nothing_that_a_run_names(hub, runs, tmp_path):
    laid(hub, "evil/x", "info_nce")
    shutil.copytree(runs / "info_nce", tmp_path / "runs/strange")
    path = tmp_path / "runs/strange/run.json"
    about = json.loads(path.read_text())
    about["config"] |= {"selector": "agreement", "selector_params": {"runs": "hf-hub:evil/x"}}
    path.write_text(json.dumps(about))
    (page,) = pages = open_pages(tmp_path / "runs")
    assert [*page.runs] == ["strange"]
    for tab in TABS:
        assert view(pages, {"tab": [tab]}).get("blocks")
    assert not hub.asked


def test_runs_of_several_folders_are_one_set(runs, tmp_path):
    shutil.copytree(runs / "siglip", tmp_path / "more/siglip")
    shutil.copytree(runs / "siglip", tmp_path / "more/siglip 2")
    pages = open_pages([runs, tmp_path / "more"])
    assert [*pages[0].runs] == ["info_nce", "siglip", "siglip (more)", "siglip 2"]
    assert pages[0].runs["siglip (more)"].path == tmp_path / "more/siglip"
    assert view(pages, {"tab": ["results"]})["blocks"]
    assert take_in(pages) == []
    shutil.copytree(runs / "info_nce", tmp_path / "more/info_nce")  # finished since
    shutil.copytree(runs / "info_nce", tmp_path / "more/later")
    assert take_in(pages) and [*pages[0].workspace.runs] == [
        "info_nce", "info_nce (more)", "later", "siglip", "siglip (more)", "siglip 2"
    ]  # fmt: skip
    assert take_in(pages) == []
    (one,) = open_pages([runs, runs / "siglip", str(runs)])  # a folder that is named twice is read once
    assert [*one.runs] == ["info_nce", "siglip"]


def test_peers_are_named_by_their_repository(hub, runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "siglip", hub.folder("model", "me/peer"))
    data, peers = str(load_run(runs / "siglip").config.dataset), "runs=hf-hub:me/peer"
    assert train.main(command(data, tmp_path / "out", "--set", peers, loss="peer_distillation")) == 0
    assert (
        train.main(
            command(data, tmp_path / "local", "--set", f"runs={runs / 'siglip'}", loss="peer_distillation")
        )
        == 0
    )
    there, here = (load_run(tmp_path / where / "peer_distillation") for where in ("out", "local"))
    np.testing.assert_array_equal(there.embeddings()[0], here.embeddings()[0])
    assert there.config.loss_params["runs"] == "hf-hub:me/peer"
    words = [
        "--dataset",
        data,
        "--loss",
        "peer_distillation",
        *SMALL,
        "--set",
        peers,
        "--trials",
        "1",
        "--seeds",
        "1",
        "--epochs",
        "1",
    ]
    assert compare.main([*words, "--out", str(tmp_path / "table.md")]) == 0
    assert "peer_distillation" in (tmp_path / "table.md").read_text()
