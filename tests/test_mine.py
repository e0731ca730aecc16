"""What visitors train: recipes as addresses hold them, the queue, runs that only their visitor sees, and the limits in public."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect

from tests import tiny
from tests.journeys import opened, rest, state_of
from tests.viewed import Seen
from xmr import limits
from xmr.checkpoints import load_run
from xmr.core import DUPLICATES
from xmr.losses import LOSSES
from xmr.selection import ACTIONS, SELECTORS
from xmr.store import PairNames, as_jsonl
from xmr.training import train
from xmr.views import beside, view
from xmr.views.judging import owner_of, store_of
from xmr.workspace import Workspace, mine, training
from xmr.workspace.pages import Page
from xmr.workspace.recipes import Recipe, can_be_named, read, why_no_parent
from xmr.workspace.verdict_file import VerdictFile

ROOT = Path(__file__).parent.parent
ANN, BOB = ({"name": name, "secret": name[0] * 40} for name in ("ann", "bob"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two runs on a dataset in a folder, as the scripts leave them."""
    place = tmp_path_factory.mktemp("mine")
    source = tiny.write_folder(place / "data")
    for loss, more in (
        ("info_nce", {}),
        ("max_of_hinges", {"selector": "word_overlap", "suspects": "weigh"}),
    ):
        params = {"embed_dim": 16, **({"word_dim": 8, "channels": 8, "word_dropout": 0.1})}
        for _ in train(
            tiny.config(dataset=str(source), loss=loss, epochs=2, matcher_params=params, **more),
            place / "runs" / loss,
        ):
            pass
    return place / "runs"


@pytest.fixture(scope="module")
def first(runs, tmp_path_factory):
    """What `recipe()` trains, as the queue leaves it in a cache."""
    cache = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as own:
        own.setenv("XMR_CACHE", str(cache))
        workspace = Workspace.open(runs)
        begun(workspace, recipe())
        training.ALONE.submit(lambda: None).result()
        (held,) = training._held.values()
        assert (held.how, held.fault) == ("done", "") and len(held.scores) == 1 and held.losses
        training._held.clear()
    return cache / "trained"


@pytest.fixture
def workspace(runs, first, tmp_path, monkeypatch):
    """A workspace over them, in whose cache only `recipe()` is trained."""
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    shutil.copytree(first, tmp_path / "cache" / "trained")
    workspace = Workspace.open(runs)
    workspace.verdicts = VerdictFile(tmp_path / "verdicts.sqlite")
    yield workspace
    for held in training._held.values():
        held.stop()
    training.ALONE.submit(lambda: None).result()  # what was stopped has cleared its folder
    training._held.clear()


def see(workspace, act=None, visitor=ANN, **state):
    from xmr.views import Visitor

    page = Page(workspace.dataset().name, "", dict(workspace.runs), lambda: workspace)
    sent = act and {"block": act[0], "event": "change", "data": act[1]}
    return Seen(view([page], {"tab": "weights"} | state, sent, Visitor.of(visitor)))


def done(workspace, seen, visitor=ANN):
    """The view when no training goes on any more."""
    end = time.monotonic() + 120
    while any(held.goes_on for held in training._held.values()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return see(workspace, visitor=visitor, **seen.state)


def recipe(loss="weighting", **more):
    return Recipe("info_nce", loss, **{"epochs": 1} | more)


def begun(workspace, one, visitor=ANN, **state):
    return see(workspace, ("mine", ["begin", one.text]), visitor, **state)


# ---- recipes -----------------------------------------------------------------------------------------------


def values_of(entry):
    """Some values for each parameter that a recipe may hold."""

    def of(param):
        if param.choices:
            return st.sampled_from(param.choices)
        if param.kind is bool:
            return st.booleans()
        if param.kind is int:
            return st.integers(int(param.range.low), int(min(param.range.high, 10**6)))
        low, high = (param.range.low, param.range.high) if param.range else (-10.0, 10.0)
        return st.floats(low, high)

    return st.fixed_dictionaries({}, optional={param.name: of(param) for param in entry.params}).map(
        lambda found: tuple(found.items())
    )


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), max_size=40).filter(
    lambda text: text == text.strip() and "\xad" not in text
)


@st.composite
def recipes(draw):
    loss = draw(st.sampled_from([name for name, entry in LOSSES.items() if can_be_named(entry)]))
    selector = draw(
        st.sampled_from(["", *(name for name, entry in SELECTORS.items() if can_be_named(entry))])
    )
    return Recipe(
        draw(NAMES.filter(bool)),
        loss,
        draw(values_of(LOSSES[loss])),
        selector,
        draw(values_of(SELECTORS[selector])) if selector else (),
        draw(st.sampled_from([*ACTIONS])) if selector else "ignore",
        draw(st.sampled_from([*DUPLICATES])),
        draw(st.sampled_from(["", "0123456789abcdef"])),
        draw(st.integers(1, 20)),
        draw(st.integers(0, 2**31)),
        draw(NAMES),
    )


@given(recipes())
def test_a_recipe_reads_as_it_was_written(one):
    assert read(one.text) == one
    namespace = {}
    exec(one.python, namespace)
    assert {name: namespace["loss"].hyper.given[name] for name, _ in one.loss_params} == dict(one.loss_params)


@given(
    st.one_of(
        st.text(max_size=300), recipes().flatmap(lambda one: st.text(max_size=20).map(one.text.__add__))
    )
)
def test_any_text_is_a_recipe_or_a_sentence(text):
    try:
        found = read(text)
    except ValueError as error:
        said = str(error)
    else:
        said = "" if read(found.text) == found else "it reads otherwise"
    assert not said or (10 < len(said) < 2000 and said != "it reads otherwise")


@pytest.mark.parametrize(
    ("text", "said"),
    [("from=a; loss=info_mce", "did you mean 'info_nce'"), ("from=a; loss=info_nce; loss.margin=1", "unknown parameter"),
     ("from=a; loss=info_nce; loss.temperature=nan", "temperature"), ("from=a; loss=info_nce; epochs=21", "1 to 20"),
     ("from=a; loss=info_nce; epochs=1e9", "whole number"), ("loss=info_nce", "from=NAME"), ("from=a", "loss=NAME"),
     ("from=a; loss=peer_distillation; loss.runs=/etc", "can't name"), ("from=a; loss=info_nce; selector=guided", "can't name"),
     ("from=a; loss=info_nce; selector.threshold=1", "unknown selector ''"), ("from=a; loss=info_nce; verdicts=../x", "16"),
     ("from=a; loss=info_nce; seed=-1", "whole number"), ("from=a; loss=info_nce; loss=siglip", "twice"),
     ("from=a; loss=info_nce; lr=1", "unknown part"), ("from=a; loss=info_nce; called=a\u2028b", "end of a line")],
)  # fmt: skip
def test_what_no_recipe_may_hold_is_told(text, said):
    with pytest.raises((ValueError, KeyError), match=said):
        read(text)


def test_a_run_whose_head_cannot_be_trained_is_no_parent(workspace):
    run = workspace.run("info_nce")
    assert why_no_parent(run) == ""
    files = replace(run.config, matcher_params=run.config.matcher_params | {"glove": "/etc/passwd"})
    for config, said in (
        (replace(run.config, tune="all"), "tuned"), (replace(run.config, loss=""), "not trained"), (files, "glove"),
    ):  # fmt: skip
        assert said in why_no_parent(replace(run, config=config))


# ---- training ----------------------------------------------------------------------------------------------


def test_it_is_trained_to_the_same_bits_as_by_the_line_that_is_shown(workspace, tmp_path):
    data = workspace.dataset("train")
    store = store_of(workspace)
    for place in range(3):
        store.record(PairNames(data).verdict(place, 40 + 2 * place, "Ann", "yes"))
    people = store.verdicts(fingerprint=data.fingerprint)
    one = recipe(
        loss_params=(("negative_at_half", 0.8),), selector="word_overlap", selector_params=(("threshold", 0.9),),
        suspects="weigh", duplicates="positive", verdicts=mine.digest_of_verdicts(people), epochs=2, seed=7,
    )  # fmt: skip
    seen = done(workspace, begun(workspace, one))
    assert not seen.said
    ours = load_run(
        training.folder_of(read(seen.state["mine"][0]).digest(workspace.run("info_nce"), workspace.source))
    )
    (tmp_path / f"verdicts-{one.verdicts}.jsonl").write_text(as_jsonl(people))
    words = shlex.split(mine.command_of(one, workspace))
    assert words[:2] == ["python", "scripts/train.py"]
    subprocess.run(
        [sys.executable, ROOT / words[1], *words[2:]], cwd=tmp_path, check=True, capture_output=True
    )
    (folder,) = (tmp_path / "runs").iterdir()
    theirs = load_run(folder)
    assert ours.config == replace(theirs.config, verdicts=ours.config.verdicts)
    assert {name: ours.files[name] for name in theirs.files if name != "history.jsonl"} == {
        name: digest
        for name, digest in theirs.files.items()
        if name != "history.jsonl"  # which tells seconds
    }
    assert ours.metrics == theirs.metrics
    assert not Path(ours.config.verdicts).is_absolute()  # a run that is sent on tells nothing of this machine


def test_what_is_trained_is_a_run_of_its_visitor_alone(workspace):
    """Ann's is there; Bob, who opens a link of another recipe, trains it by one press, and calls it as Ann does hers."""
    ann = begun(workspace, recipe(), runs=["max_of_hinges", "info_nce"])
    assert not ann.again and ann.state["runs"] == ["max_of_hinges", "info_nce", "yours 1"]
    other = recipe(loss_params=(("negative_at_1", 0.1),), called="yours 1")
    digest = other.digest(workspace.run("info_nce"), workspace.source)
    link = see(workspace, visitor=BOB, mine=[other.text], runs=["yours 1", "info_nce"])
    assert not link.said and link.state["runs"] == ["yours 1", "info_nce"] and f"mine-{digest}-train" in link
    bob = see(workspace, ("mine", ["train", digest]), BOB, **link.state)
    assert bob.again
    bob = done(workspace, bob, BOB)
    assert "Trained in" in bob.words(f"mine-{digest}-how") and bob.state["runs"] == ["yours 1", "info_nce"]
    rows = {}
    for who, seen in (("ann", ann), ("bob", bob)):
        shown = see(workspace, **seen.state | {"tab": "results"}).value("results-first")["rows"]
        rows[who] = next(row["cells"] for row in shown if row["name"] == "yours 1")
    assert rows["ann"] != rows["bob"]  # each measures their own, whatever the name
    assert "yours 1" not in see(workspace, tab="results", which="all").names("results-first")
    assert "yours 1" not in workspace.runs


@pytest.mark.parametrize(
    "tab", ["search", "results", "distributions", "weights", "false_negatives", "errors", "map"]
)
def test_every_tab_shows_it(workspace, tab):
    seen = done(workspace, begun(workspace, recipe()))
    chosen = {"a": "info_nce", "b": "yours 1", "fn_run": "yours 1", "loss": "run yours 1", "map_b": "yours 1"}
    shown = see(workspace, **seen.state | {"tab": tab} | chosen)
    assert not shown.said and "yours 1" in str(dict(shown))


def test_renamed_kept_saved_and_deleted(workspace, runs):
    seen = done(workspace, begun(workspace, recipe(), baseline="info_nce"))
    digest = recipe().digest(workspace.run("info_nce"), workspace.source)
    on = seen.state | {"b": "yours 1", "loss": "run yours 1", "baseline": "yours 1"}
    named = see(workspace, ("mine-name", {"name": digest, "value": "drawn by me"}), **on)
    assert (
        named.state["b"] == named.state["baseline"] == "drawn by me"
        and named.state["loss"] == "run drawn by me"
    )
    assert "drawn by me" in named.state["runs"] and not named.said
    taken = see(workspace, ("mine-name", {"name": digest, "value": "info_nce"}), **named.state)
    assert taken.said and taken.state["b"] == "drawn by me"
    page = Page(workspace.dataset().name, "", dict(workspace.runs), lambda: workspace)
    saved = beside([page], named.state, "file", {"name": f"run {digest}"})
    assert saved["name"] == "drawn-by-me.zip" and saved["base64"].startswith("UEsDB")
    see(workspace, ("mine", ["keep", digest]), **named.state)
    assert load_run(runs / "drawn-by-me").metrics == load_run(training.folder_of(digest)).metrics
    again = see(workspace, ("mine", ["keep", digest]), **named.state)
    assert "already" in again.said[0]
    gone = see(workspace, ("mine", ["delete", digest]), **named.state)
    assert not gone.state["mine"] and "drawn by me" not in gone.state["runs"] and not gone.said
    for path in (runs / "drawn-by-me").iterdir():
        path.unlink()
    (runs / "drawn-by-me").rmdir()


def test_cancelled_it_ends_at_once_and_nothing_is_left(workspace):
    one = recipe(epochs=20)
    digest = one.digest(workspace.run("info_nce"), workspace.source)
    seen = begun(workspace, one)
    both = see(workspace, ("mine", ["train", digest]), BOB, **seen.state)
    see(workspace, ("mine", ["cancel", digest]), BOB, **both.state)
    assert training.training_of(digest).goes_on  # Ann still waits for it
    stranger = see(workspace, ("mine", ["cancel", digest]), BOB, **both.state)
    assert "Only who began" in stranger.said[0]
    stopped = see(workspace, ("mine", ["cancel", digest]), **seen.state)
    assert not stopped.again and "cancelled" in stopped.words(f"mine-{digest}-how")
    training.ALONE.submit(lambda: None).result(timeout=60)
    assert not training.folder_of(digest).exists()


def test_what_fails_is_told_in_a_sentence(workspace, monkeypatch):
    one = recipe(loss="info_nce")
    monkeypatch.setattr(Recipe, "config", lambda self, *_: replace(tiny.config(), dataset="/nowhere/at/all"))
    monkeypatch.setattr(Recipe, "digest", lambda *_: "0" * 16)
    seen = done(workspace, begun(workspace, one))
    told = seen.words(f"mine-{'0' * 16}-how")
    assert told.startswith("It could not be trained.") and "/nowhere" not in told


@pytest.mark.parametrize(
    "sent",
    [None, 3, ["begin"], ["begin", 3], ["begin", "x" * 5000], ["explode", "a"], ["cancel", "0" * 16], ["keep", "../x"],
     ["begin", "from=nobody; loss=info_nce"], ["begin", "from=info_nce; loss=info_nce; verdicts=0123456789abcdef"]],
)  # fmt: skip
def test_any_act_that_a_browser_makes_up_is_a_sentence(workspace, sent):
    seen = see(workspace, ("mine", sent))
    assert seen.said and not seen.state["mine"] and not training._held


def test_a_draft_is_held_by_the_address(workspace):
    seen = see(workspace, ("train-set", {"name": "epochs", "value": 7}), loss="run max_of_hinges")
    assert seen.value("train-epochs") == 7 and seen.state["draft"] == "epochs=7"
    assert seen.value("train-selector-name") == "word_overlap"  # as its parent
    none = see(workspace, ("train-set", {"name": "selector", "value": "none"}), **seen.state)
    text = none["train-begin"]["data"][1]
    assert read(text).selector == "" and read(text).epochs == 7 and "suspects" not in text
    wrong = see(workspace, ("train-set", {"name": "epochs", "value": 700}), **none.state)
    assert wrong.said and wrong.state["draft"] == none.state["draft"]
    assert see(workspace, loss="run info_nce", draft="nonsense").said


def test_the_points_of_the_drawn_loss_are_its_parameters(workspace):
    seen = see(
        workspace, ("weights-points", {"name": "negative_at_half", "value": 1.25}), loss="loss weighting"
    )
    points = {
        p["name"]: p["value"] for curve in seen.value("weights-points")["curves"] for p in curve["points"]
    }
    assert points == LOSSES["weighting"].defaults | {"negative_at_half": 1.25}
    assert read(seen["train-begin"]["data"][1]).loss_params == (("negative_at_half", 1.25),)
    assert "negative_at_half=1.25" in seen["train-python"]["text"] + seen["train-line"]["text"]


# ---- closing the loop --------------------------------------------------------------------------------------


def test_verdicts_are_learned_from_by_one_press_and_what_changed_is_told(workspace):
    there = {"tab": "false_negatives", "fn_run": "info_nce", "selector": "word_overlap"}
    assert "fn-loop-train" in see(workspace, split="test", **there)
    nobody = see(workspace, split="train", **there)
    assert "Nobody has judged" in nobody.words("fn-loop-about") and "fn-loop-begin" not in nobody
    data, store = workspace.dataset("train"), store_of(workspace)
    for place in range(4):
        store.record(PairNames(data).verdict(place, 60 + 2 * place, "Ann", "yes"))
    asked = see(workspace, split="train", **there)
    assert asked["fn-loop-begin"]["label"] == "Train info_nce again with 4 verdicts"
    one = read(asked["fn-loop-begin"]["data"][1])
    config = one.config(workspace.run("info_nce"), workspace.source, "file")
    assert config == replace(workspace.run("info_nce").config, verdicts="file")  # nothing else is changed
    seen = done(workspace, see(workspace, ("mine", asked["fn-loop-begin"]["data"]), **asked.state))
    (digest,) = (own.digest for own in mine.read(workspace, seen.state["mine"])[0])
    assert "won and" in seen.words(f"fn-changed-{digest}-queries")
    assert "of info_nce" in seen.words(f"fn-changed-{digest}-left") and "of yours 1" in seen.words(
        f"fn-changed-{digest}-left"
    )
    for way in ("v2t", "t2v"):
        assert [row["name"] for row in seen.value(f"fn-changed-{digest}-{way}")["rows"]] == ["yours 1"]
    link = seen[f"fn-changed-{digest}-errors"]["set"]
    errors = see(workspace, **seen.state | link)
    assert errors.words("errors-about") == "A is info_nce, B is yours 1." and not errors.said


# ---- in public ---------------------------------------------------------------------------------------------


@pytest.fixture
def in_public(monkeypatch):
    monkeypatch.setenv(limits.PUBLIC, "1")


def test_in_public_each_visitor_has_a_few_and_waits_for_a_turn(workspace, in_public, monkeypatch):
    state = {}
    with monkeypatch.context() as own:
        own.setattr(training.ALONE, "submit", lambda run: None)  # nobody's turn comes
        for seed in range(1, 5):
            seen = begun(workspace, recipe(seed=seed), **state)
            state = seen.state
        assert "You have trained 3 here" in seen.said[0] and len(state["mine"]) == 3
        told = [seen.words(f"mine-{one.digest}-how") for one in mine.read(workspace, state["mine"])[0]]
        assert told == [
            "It is next.",
            "It waits for its turn: 1 training comes before it.",
            "It waits for its turn: 2 trainings come before it.",
        ]
        assert "secret" in begun(workspace, recipe(seed=9), {"name": "", "secret": ""}).said[0]
        assert not begun(workspace, recipe(seed=9), BOB).said


def test_in_public_a_training_has_half_a_minute_and_an_hour(workspace, in_public, monkeypatch):
    seen = done(workspace, begun(workspace, recipe()))
    digest = recipe().digest(workspace.run("info_nce"), workspace.source)
    assert (
        "deleted 60 minutes after" in seen.words(f"mine-{digest}-how")
        and seen[f"mine-{digest}-keep"]["hidden"]
    )
    assert "public" in see(workspace, ("mine", ["keep", digest]), **seen.state).said[0]
    monkeypatch.setattr(training, "TRAINED_SECONDS", limits.Limit("", None, -1))
    later = see(workspace, **seen.state)
    assert "not trained on this server" in later.words(f"mine-{digest}-how")
    assert not training.folder_of(digest).exists()
    monkeypatch.setattr(training, "TRAINED_SECONDS", limits.Limit("", None, 3600))
    monkeypatch.setattr(training, "TRAINING_SECONDS", limits.Limit("", None, 0))
    slow = done(workspace, begun(workspace, recipe(epochs=20), **later.state))
    told = [slow.words(id) for id in slow if id.endswith("-how")]
    assert any("take fewer epochs" in one for one in told)


def test_an_owner_is_known_by_a_secret():
    assert owner_of(ANN["secret"], "") != owner_of(BOB["secret"], "") != ""


# ---- in the browser ----------------------------------------------------------------------------------------


def test_drawn_trained_and_seen_in_results(serve, workspace, page):
    with serve(workspace) as url:
        opened(page, url, tab="weights", loss="loss weighting", baseline="info_nce")
        point = page.get_by_role("slider", name="Weight of the hardest negative at similarity 0.5")
        point.focus()
        page.keyboard.press("ArrowUp")
        rest(page)
        assert "negative_at_half=0.55" in state_of(page)["params"][0]
        box = point.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 40, steps=4)
        page.mouse.up()
        rest(page)
        drawn = float(state_of(page)["params"][0].partition("negative_at_half=")[2].partition(";")[0])
        assert drawn > 0.7
        page.locator("#train > summary").click()
        page.locator("#train-epochs input[type=number]").fill("1")
        page.keyboard.press("Enter")
        rest(page)
        page.get_by_role("button", name="Train", exact=True).click()
        expect(page.get_by_text("Trained in")).to_be_visible(timeout=120_000)
        page.get_by_role("button", name="Show in Results").click()
        expect(page.locator("#results-first").get_by_role("rowheader", name="yours 1")).to_be_visible()
        assert state_of(page)["mine"][0].startswith("from=info_nce; loss=weighting; loss.negative_at_half=")
