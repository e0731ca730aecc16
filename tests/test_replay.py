"""A training replayed: moments as workspaces of the sample, the tabs at a moment, and when queries were learned."""

import numpy as np
import pytest

from tests import tiny
from tests.viewed import pages_of, see
from xmr import embedding
from xmr.analysis import LEARNED, learned
from xmr.checkpoints import Member, list_runs, save_combination
from xmr.checkpoints.folder import SNAPSHOTS
from xmr.core import DIRECTIONS
from xmr.views import beside
from xmr.views.replay import TABS
from xmr.workspace import Workspace
from xmr.workspace.item_names import item_link
from xmr.workspace.replay import at, epochs, moments, no_replay, place_of, ranks_through, replayable, sample


def opened(folder):
    runs, faults = list_runs(folder)
    assert not faults
    return Workspace.of(runs, "tiny", load=tiny.dataset, embedder=embedding, checkpoints=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of 12 steps, one of 9 larger batches, one that scores pairs, and a combination."""
    folder = tmp_path_factory.mktemp("replayed")
    tiny.fit(tiny.config(), folder / "info_nce")
    tiny.fit(tiny.config(loss="max_of_hinges"), folder / "max_of_hinges")
    tiny.fit(tiny.config(loss="siglip", batch_size=40), folder / "siglip")
    tiny.fit(
        tiny.config(
            matcher="cross_attention", matcher_params={"embed_dim": 16, "text": "words", "word_dim": 8}
        ),
        folder / "pairs",
    )
    runs = [run for run in list_runs(folder)[0] if run.name in ("info_nce", "siglip")]
    metrics = {split: runs[0].metrics[split] for split in ("validation", "test")}
    save_combination(folder / "both", "mean", [Member(run, 0.5, "all") for run in runs], metrics)
    return folder


@pytest.fixture(scope="module")
def workspace(folder):
    return opened(folder)


NAMES = ("info_nce", "max_of_hinges", "pairs", "siglip")


def rank_by_loop(scores, own):
    """1-based rank of the best of `own` among the scores of one query, ties against it."""
    best = max(scores[one] for one in own)
    return 1 + sum(score >= best for one, score in enumerate(scores) if one not in own)


def test_a_moment_is_a_workspace_of_the_sample_under_runs_as_they_were(workspace):
    visuals, texts = sample(workspace)
    assert replayable(workspace) == list(NAMES) and "snapshots" in no_replay(workspace, "both")
    data = workspace.dataset()
    for moment in moments(workspace, NAMES):
        then = at(workspace, moment)
        assert list(then.runs) == list(NAMES)
        assert [data.captions[one] for one in texts] == then.dataset().captions
        assert [item_link(workspace, "test", "caption", int(one)) for one in texts] == [
            item_link(then, "test", "caption", one) for one in range(len(texts))
        ]
        for name in NAMES:
            kept, place = workspace.run(name).snapshots(), place_of(workspace, name, moment)
            rows, columns = np.isin(kept.visuals, visuals), np.isin(kept.texts, texts)
            scores = kept.visual[place][rows] @ kept.text[place][columns].T
            if kept.scores is not None:
                scores = kept.scores[place][rows][:, columns]
            for direction, matrix, owner in (
                ("v2t", scores, lambda v: [t for t, one in enumerate(texts) if data.visual_of_text[one] == visuals[v]]),
                ("t2v", scores.T, lambda t: [int(np.flatnonzero(visuals == data.visual_of_text[texts[t]])[0])]),
            ):  # fmt: skip
                expected = [rank_by_loop(row, owner(one)) for one, row in enumerate(matrix)]
                assert then.ranks(name, "test", direction).tolist() == expected
                assert ranks_through(workspace, name, direction)[place].tolist() == expected


def test_runs_go_in_step_by_epochs(workspace):
    assert epochs(workspace, "info_nce")[:3].tolist() == [0, 0.25, 0.5]
    assert epochs(workspace, "siglip")[:3].tolist() == [0, 1 / 3, 2 / 3]
    told = moments(workspace, ("info_nce", "siglip"))
    assert told[:5] == ["0", "0.25", "0.3333", "0.5", "0.6667"]
    assert [place_of(workspace, "siglip", one) for one in told[:5]] == [0, 0, 1, 1, 2]
    assert [place_of(workspace, "info_nce", one) for one in told[:5]] == [0, 1, 1, 2, 2]
    assert moments(workspace, ("both",)) == [] and moments(workspace, ()) == []


def test_the_last_moment_is_the_run(workspace):
    visuals, texts = sample(workspace)
    last = at(workspace, moments(workspace, NAMES)[-1])
    for name in NAMES:
        for own, whole, items in zip(
            last.embeddings(name), workspace.embeddings(name), (visuals, texts), strict=True
        ):
            np.testing.assert_array_equal(own, whole[items])


def test_every_tab_is_drawn_at_every_moment_and_the_address_keeps_what_was_asked(workspace):
    query = item_link(workspace, "test", "caption", 3)
    asked = {
        "runs": ["both", *NAMES],
        "baseline": "both",
        "map_a": "both",
        "loss": "run info_nce",
        "query": query,
    }
    for tab in TABS:
        usual = see(workspace, tab=tab, **asked)
        options = usual["moment"]["options"]
        assert usual["moment"]["value"] == "" and options[-1] == ["the end", ""] and options[0][1] == "0"
        for direction in DIRECTIONS:
            for _, moment in options:
                seen = see(workspace, tab=tab, direction=direction, moment=moment, **asked)
                assert not seen.said and seen.state["moment"] == moment
                assert {key: list(value) if isinstance(value := seen.state[key], tuple) else value for key in ("runs", "baseline", "map_a")} == {
                    key: asked[key] for key in ("runs", "baseline", "map_a")
                }  # fmt: skip
                if moment:
                    assert "No replay of both" in seen.words("moment-said")


def test_search_at_a_moment_ranks_among_the_sample(workspace):
    visuals, _ = sample(workspace)
    query = item_link(workspace, "test", "caption", 3)
    seen = see(workspace, tab="search", runs=["info_nce"], query=query, moment="0.25")
    rank = int(at(workspace, "0.25").ranks("info_nce", "test", "t2v")[3])
    assert seen.value("results")["columns"][0]["rank"] == rank
    assert f"Of {len(visuals)}" in seen.value("results")["headline"]
    assert seen["query"]["hidden"] and "after 1 step" in seen.words("moment-said")
    card = beside(
        pages_of(workspace),
        {"tab": "search", "runs": ["info_nce"], "query": query, "moment": "0.25"},
        "item",
        {"index": 0},
    )
    assert "fault" not in card


def test_a_query_outside_the_sample_waits_until_the_end(folder, monkeypatch):
    few = opened(folder)
    from xmr.workspace import replay

    monkeypatch.setattr(replay, "_sample", lambda *_: (np.arange(4), np.arange(8)))
    link = item_link(few, "test", "caption", 40)
    seen = see(few, tab="search", runs=["info_nce"], query=link, moment="0")
    assert seen.state["query"] == link and not seen.said and "is not among them" in seen.words("moment-said")
    other = see(few, ("next", "press", 1), tab="search", runs=["info_nce"], query=link, moment="0")
    assert other.state["query"] != link


@pytest.mark.parametrize(
    ("sent", "settled", "said"),
    [("0.3", "0.25", 0), ("9", "3", 0), ("-1", "0", 0), ("abc", "", 1), ("nan", "", 1), ("1e999", "", 1), ("0.25", "0.25", 0)],
)  # fmt: skip
def test_whatever_an_address_says_of_moments(workspace, sent, settled, said):
    seen = see(workspace, tab="distributions", runs=["info_nce"], moment=sent)
    expected = settled if settled != "3" else moments(workspace, ["info_nce"])[-1]
    assert seen.state["moment"] == expected and len(seen.said) == said


def test_there_is_no_slider_where_nothing_can_be_replayed(workspace):
    assert "moment" not in see(workspace, tab="search", runs=["both"], moment="0")
    assert "moment" not in see(workspace, tab="errors", runs=["info_nce"], moment="0")
    assert see(workspace, tab="search", runs=["both"], moment="0").state["moment"] == ""


def test_a_broken_file_is_told_and_the_others_are_replayed(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "runs")
    path = tmp_path / "runs" / "siglip" / SNAPSHOTS
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    broken = opened(tmp_path / "runs")
    seen = see(broken, tab="distributions", runs=["info_nce", "siglip"], moment="0")
    assert "No replay of siglip: snapshots.safetensors was altered" in seen.words("moment-said")
    assert str(tmp_path) not in seen.words("moment-said")
    assert [
        one["name"]
        for one in see(broken, tab="distributions", runs=["siglip"]).value("distributions-table")["rows"]
    ] == ["siglip"]


def test_maps_are_turned_onto_that_of_the_end(workspace):
    from xmr.workspace.maps import flat, points

    last = moments(workspace, ["info_nce"])[-1]
    seen = see(workspace, tab="map", runs=["info_nce"], map_a="info_nce", map_b="-", moment=last)
    own = points(at(workspace, last), "info_nce", "test", "pca")
    assert np.allclose(seen.value("map-points")["panels"][0]["place"], own.place)
    first = see(workspace, tab="map", runs=["info_nce"], map_a="info_nce", map_b="-", moment="0")
    place = np.array(first.value("map-points")["panels"][0]["place"])
    moving, fixed = (flat(at(workspace, one), "info_nce", "test", "pca") for one in ("0", last))
    own = points(at(workspace, "0"), "info_nce", "test", "pca").place
    turn = np.linalg.lstsq(own[:2], place[:2], rcond=None)[0]
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-6)  # it is turned, not stretched

    def apart(angle, flip):
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
            [1, flip]
        )
        sides = [np.concatenate([one.visual, one.text]) for one in (moving, fixed)]
        one, other = (side - side.mean(0) for side in sides)
        return np.square(one @ rotation - other).sum()

    sides = [np.concatenate([one.visual, one.text]) for one in (moving, fixed)]
    one, other = (side - side.mean(0) for side in sides)
    reached = np.square(one @ turn - other).sum()
    best = min(apart(angle, flip) for angle in np.linspace(0, 2 * np.pi, 720) for flip in (1, -1))
    assert reached <= best * (1 + 1e-3)


# ---- when queries were learned -----------------------------------------------------------------------------------


def kind_by_loop(right, steps):
    if right[-1]:
        at = len(right) - 1
        while at > 0 and right[at - 1]:
            at -= 1
        return "late" if steps[at] > steps[-1] / 2 else "early"
    return "forgotten" if any(right[1:]) else "never"


def test_every_query_is_of_one_kind_as_a_loop_finds():
    rng = np.random.default_rng(0)
    for count in (2, 5, 14):
        right = rng.random((count, 200)) < rng.random(200)
        steps = np.concatenate([[0], np.cumsum(rng.integers(1, 50, count - 1))])
        found = learned(right, steps)
        assert sorted(np.concatenate([found[kind] for kind in LEARNED]).tolist()) == list(range(200))
        for kind, queries in found.items():
            assert {kind_by_loop(right[:, one].tolist(), steps) for one in queries} <= {kind}


def test_errors_tells_when_a_query_was_learned_and_lists_by_it(workspace):
    _, texts = sample(workspace)
    asked = {"tab": "errors", "a": "info_nce", "b": "siglip", "runs": ["info_nce", "siglip"], "at": 5}
    seen = see(workspace, **asked)
    options = {value: text for text, value in seen["errors-learned"]["options"]}
    right = ranks_through(workspace, "info_nce", "t2v") <= 5
    steps = workspace.run("info_nce").snapshots().steps
    kinds = [kind_by_loop(right[:, one].tolist(), steps) for one in range(len(texts))]
    for kind in LEARNED:
        assert options[f"A-{kind}"].endswith(f"· {kinds.count(kind)}")
    most = max(LEARNED, key=kinds.count)
    listed = see(workspace, **asked, learned=f"A-{most}")
    assert listed.words("errors-listed").endswith(f", {kinds.count(most)}.")
    place = {int(text): at for at, text in enumerate(texts)}
    for row in listed.value("errors-list")["rows"]:
        assert kinds[place[row["index"]]] == most
        a, b = row["strips"]
        assert (a["letter"], b["letter"]) == ("A", "B") and a["right"] == right[
            :, place[row["index"]]
        ].tolist()
    assert see(workspace, **asked, learned="A-sometimes").said
    assert "errors-learned" not in see(workspace, **asked | {"a": "both", "b": "", "runs": ["both"]})
