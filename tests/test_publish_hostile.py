"""Pushing what does not fit: odd names, repositories of others, what was deleted here, what is too large."""

import json
import re
import shutil

import pytest

from scripts import publish, train
from tests import tiny
from tests.test_publish import front_of
from tests.test_scripts import command
from xmr import hub as ours
from xmr.checkpoints import list_runs
from xmr.checkpoints.folder import RUN
from xmr.publishing.card import plain

ODD = ["a b", "größer ±", "50% #1", "x|y", "[a](b)", "*bold*", "<b>&amp;", "$(id)", "it's", "-m"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("odd")
    assert train.main(command(tiny.write_folder(place / "tiny"), place / "runs")) == 0
    return place / "runs/info_nce"


def copies(run, folder, *names):
    for name in names:
        shutil.copytree(run, folder / name)
    return folder


def pushed(folder, name="me/odd", *more):
    return publish.main([str(folder), "--to", name, "--license", "mit", *more])


def test_odd_names_arrive_as_they_are(run, hub, tmp_path):
    assert pushed(copies(run, tmp_path / "runs", *ODD)) == 0
    runs, faults = list_runs("hf-hub:me/odd")
    assert sorted(one.name for one in runs) == sorted(ODD) and not faults
    card = (hub.folder("model", "me/odd") / "README.md").read_text()
    assert [one["name"] for one in front_of(hub.folder("model", "me/odd"))["model-index"]] == sorted(ODD)
    assert "](a%20b/distributions.png)" in card and "](50%25%20%231/distributions.png)" in card
    assert (
        "\n## \\[a\\](b)\n" in card
        and "\n## \\<b\\>\\&amp;\n" in card
        and "<b>" not in card.partition("---\n\n")[2].replace("\\<b", "")
    )
    folder = tmp_path / "space"
    assert publish.main([str(tmp_path / "runs"), "--space", "me/lab", "--dry-run", str(folder)]) == 0
    assert "| x\\|y | info_nce | tiny |" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "name", ["README.md", ".git", "run.json", "pictures", "encoders", "distributions.png"]
)
def test_names_of_other_files_are_refused(run, tmp_path, capsys, name):
    copies(run, tmp_path / "runs", name)
    for where in (["--to", "me/odd"], ["--space", "me/lab"]):
        assert publish.main([str(tmp_path / "runs" / name), *where, "--dry-run"]) == 2
        assert f"no run of a repository can be called {name}: rename " in capsys.readouterr().err


def test_what_others_put_there_stays(run, hub, capsys):
    folder = hub.folder("model", "me/odd")
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / ".gitattributes").write_text("")
    assert pushed(run) == 0  # as the Hub's page makes one
    (folder / "notes.txt").write_text("mine")
    assert pushed(run) == 0 and (folder / "notes.txt").read_text() == "mine"
    other = hub.folder("model", "me/other")
    other.mkdir(parents=True)
    for name in ("README.md", "config.json", "model.safetensors"):
        (other / name).write_text("somebody's")
    before = hub.files("model", "me/other")
    assert pushed(run, "me/other") == 2
    assert (
        "me/other holds other things (config.json, model.safetensors), which no earlier call made"
        in capsys.readouterr().err
    )
    assert hub.files("model", "me/other") == before


def test_a_second_push_has_what_is_here_now(run, hub, tmp_path, capsys):
    runs = copies(run, tmp_path / "runs", "a", "b", "c")
    assert pushed(runs) == 0
    (hub.folder("model", "me/odd") / "b/notes.txt").write_text("of its owner")
    shutil.rmtree(runs / "b")
    about = json.loads((runs / "c" / RUN).read_text())
    about["training"]["seconds"] = 1.5
    (runs / "c" / RUN).write_text(json.dumps(about))
    hub.asked.clear()
    assert pushed(runs) == 0
    files = hub.files("model", "me/odd")
    assert json.loads(files["c/run.json"])["training"]["seconds"] == 1.5
    assert [name for name in files if name.startswith("b/")] == ["b/notes.txt"] and "a/run.json" in files
    assert not any(asked.startswith("PUT") for asked in hub.asked)  # no file of tensors is sent again
    assert pushed(runs / "a") == 0  # one alone lies at the top
    runs, faults = list_runs("hf-hub:me/odd")
    assert [one.name for one in runs] == ["odd"] and not faults
    assert not any(name.startswith(("a/", "c/")) for name in hub.files("model", "me/odd"))


def test_more_than_the_hub_takes_is_told_before_anything_is_made(run, hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ours, "MOST_BYTES", 1000)
    assert pushed(run) == 2
    assert re.search(r"\S+ has [\d,]+ bytes, and the Hub takes 1,000", capsys.readouterr().err)
    monkeypatch.undo()
    monkeypatch.setattr(ours, "MOST_FILES", 2)
    with pytest.raises(
        ours.HubFault, match=r"me/odd can't be pushed: \. has [\d,]+ files, and the Hub takes 2 in a folder"
    ):
        ours.push(run, ours.Repository("me/odd"), "all")
    assert not hub.asked


def test_without_a_licence_the_card_says_so(run, tmp_path, capsys):
    assert publish.main([str(run), "--to", "me/odd", "--dry-run", str(tmp_path / "out")]) == 0
    assert "no licence is named, so the card says unknown" in capsys.readouterr().err
    assert front_of(tmp_path / "out")["license"] == "unknown"


def test_plain_is_read_letter_by_letter():
    assert plain("a_b|c") == r"a\_b\|c" and plain("Ann 1.5-2") == "Ann 1.5-2"
