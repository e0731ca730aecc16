"""The workspace over the fake runs."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.fake_workspace import RUNS, FakeEmbedder, make_dataset, make_workspace
from xmr.captions import TextsRead, text_key
from xmr.data import Truth
from xmr.metrics import evaluate
from xmr.registry import UnknownName
from xmr.search import ExactIndex
from xmr.views.answer import answer
from xmr.views.query import Asked
from xmr.workspace import Query, Workspace, overlap_at_k
from xmr.workspace.parts import Memo, style_at, styles_of
from xmr.workspace.words import known_words, unread_words

NAMES = list(RUNS)
DIRECTIONS = ("t2v", "v2t")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    return make_workspace(tmp_path)


# ---- queries ------------------------------------------------------------------------------------------------


def shared_matches(data, direction):
    """Which pairs match, (Q, G) bool, by a loop: annotated, or with a text that reads like one annotated to the visual."""
    said = [{text_key(data.captions[t]) for t in data.texts_of(v)} for v in range(len(data.visual_ids))]
    keys = [text_key(caption) for caption in data.captions]
    found = np.array([[key in of for key in keys] for of in said])
    return found if direction == "v2t" else found.T


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_results_are_ranked_and_their_status_is_the_truth(workspace, direction):
    scores = workspace.scores("siglip", "test", direction)
    own = shared_matches(workspace.dataset(), direction)
    everything = np.arange(len(scores)), np.arange(scores.shape[1])
    truth = workspace.truth("test", direction, *everything)
    for index in (0, 7, 30):
        (column,) = workspace.search(Query(index=index), ["siglip"], "test", direction, 12)
        assert [result.rank for result in column.results] == list(range(1, 13))
        np.testing.assert_allclose(
            [result.score for result in column.results], np.sort(scores[index])[::-1][:12], atol=1e-6
        )
        for result in column.results:
            expected = (
                "annotated"
                if own[index, result.index]
                else ("true" if truth[index, result.index] else "neither")
            )
            assert result.status == expected


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_annotated_match_is_told_at_every_k_with_its_rank(workspace, direction):
    scores = workspace.scores("siglip", "test", direction).astype(np.float64).round(6)
    own = shared_matches(workspace.dataset(), direction)
    best = np.where(own, scores, -9).max(1, keepdims=True)
    ranks = 1 + (np.where(own, -9, scores) >= best).sum(1)  # ties count against it
    assert (
        ranks <= workspace.ranks("siglip", "test", direction)
    ).all()  # metrics are by each one's own annotation
    for index in range(0, 60, 7):
        for k in (1, 4, 60):
            (column,) = workspace.search(Query(index=index), ["siglip"], "test", direction, k)
            assert column.annotated.rank == ranks[index]
            assert column.annotated.status == "annotated"
            assert (column.annotated in column.results) == (ranks[index] <= k)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ranks_agree_with_the_metrics(workspace, direction):
    visual, text = workspace.embeddings("info_nce")
    scores = (visual.astype(np.float64) @ text.T).round(6)  # captions that read alike tie
    found = evaluate(scores, workspace.positives("test", "v2t"))
    recall = (workspace.ranks("info_nce", "test", direction) <= 5).mean()
    assert recall == pytest.approx(found[f"{direction}/recall_at_5"])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_locating_an_item_gives_the_rank_that_the_search_gave(workspace, direction):
    query = Query(index=3)
    (column,) = workspace.search(query, ["max_of_hinges"], "test", direction, 60)
    for result in column.results:
        assert workspace.locate(query, "max_of_hinges", "test", direction, result.index).rank == result.rank


def test_a_text_that_reads_like_captions_has_their_annotation(workspace):
    caption = workspace.dataset().captions[0]
    (column,) = workspace.search(Query(text=f"  {caption.upper()} "), NAMES[:1], "test", "t2v", 60)
    data = workspace.dataset()
    same = {
        data.visual_ids[v] for c, v in zip(data.captions, data.visual_of_text, strict=True) if c == caption
    }
    assert {result.id for result in column.results if result.status == "annotated"} == same


ALIKE = [
    "A dog.",
    "a  DOG",
    "a cat",
    "A dog!",
    "two dogs",
    "Cafe\u0301",
    "caf\u00e9 .",
]  # of visuals 0 1 1 2 2 3 4


def dogs(**changes):
    """Five pictures, three of which have a caption that reads "a dog"."""
    data = make_dataset()
    parts = {"captions": ALIKE, "visual_of_text": np.array([0, 1, 1, 2, 2, 3, 4]), "truth": None}
    pictures = {"visual_ids": data.visual_ids[:5], "visuals": data.visuals[:5], "visual_group": np.arange(5)}
    columns = {name: values[:5] for name, values in data.columns.items()}
    return replace(data, **parts | pictures | changes, columns=columns)


@pytest.mark.parametrize(
    ("query", "direction", "own", "words"),
    [
        (Query(text="a dog"), "t2v", {0, 1, 2}, "3 annotated images"),
        (Query(text=" A  Dog.!"), "t2v", {0, 1, 2}, "3 annotated images"),
        (Query(text="a dog runs"), "t2v", set(), ""),
        (
            Query(index=0),
            "t2v",
            {0, 1, 2},
            "3 annotated images, 1 of this caption, 2 of captions that read alike",
        ),
        (
            Query(index=3),
            "t2v",
            {0, 1, 2},
            "3 annotated images, 1 of this caption, 2 of captions that read alike",
        ),
        (Query(index=2), "t2v", {1}, "1 annotated image"),
        (
            Query(index=6),
            "t2v",
            {3, 4},
            "2 annotated images, 1 of this caption, 1 of captions that read alike",
        ),
        (Query(index=0), "v2t", {0, 1, 3}, "3 annotated captions, 1 of this image, 2 that read alike"),
        (Query(index=1), "v2t", {0, 1, 2, 3}, "4 annotated captions, 2 of this image, 2 that read alike"),
    ],
)
def test_a_text_has_the_same_matches_typed_or_picked_with_its_full_stop_or_without(
    query, direction, own, words
):
    data = dogs()
    workspace = Workspace({}, "dogs", lambda split: data, FakeEmbedder())
    same, found = workspace.annotation(query, "test", direction)
    assert set(found.tolist()) == own
    assert known_words(workspace, "test", direction, same, found, query.index) == words
    assert query.index is None or same[0] == query.index
    assert workspace.read_elsewhere("test") == 5


def test_what_is_known_of_one_caption_is_known_of_all_that_read_alike():
    table = np.full((5, 7), np.nan, np.float32)
    table[[3, 4, 0], [1, 0, 1]] = 1, 0, 1
    truth = Truth(lambda v, t: table[np.ix_(v, t)], lambda v, t: table[v, t], complete=False, source="people")
    data = dogs(truth=truth)
    workspace = Workspace({}, "dogs", lambda split: data, FakeEmbedder())
    expected = np.array([1, np.nan, np.nan, 1, 0], np.float32)
    for query in (Query(index=0), Query(index=3), Query(text="a dog")):
        same, _ = workspace.annotation(query, "test", "t2v")
        np.testing.assert_array_equal(workspace.known("test", "t2v", same, np.arange(5)), expected)
    found = workspace.known("test", "v2t", np.array([3]), np.array([6, 3, 1, 0]))
    np.testing.assert_array_equal(found, np.array([np.nan, 1, 1, 1], np.float32))


def test_names_of_pictures_and_texts_of_classes_share_nothing():
    for changes in ({"classes": ["one", "two"], "visual_group": np.array([0, 0, 1, 1, 1])},
                    {"gallery_visuals": make_dataset().visuals[:7]}):  # fmt: skip
        data = dogs(**changes)
        workspace = Workspace({}, "dogs", lambda split, data=data: data, FakeEmbedder())
        own = workspace.annotation(Query(index=0), "test", "t2v")[1]
        assert own.tolist() == ([0, 1] if "classes" in changes else [0])
        assert workspace.read_elsewhere("test") == 0


def test_nothing_is_known_of_a_free_text_or_a_picture_from_outside(workspace):
    for query, direction in (
        (Query(text="quite other words"), "t2v"),
        (Query(image=Image.new("RGB", (9, 9))), "v2t"),
    ):
        for column in workspace.search(query, NAMES, "test", direction, 5):
            assert column.annotated is None
            assert {result.status for result in column.results} == {"unknown"}


def test_without_truth_only_the_annotation_is_told(tmp_path):
    data = replace(make_dataset(), truth=None)
    runs = make_workspace(tmp_path).runs.values()
    workspace = Workspace.of(list(runs), "shapes", lambda split: data, FakeEmbedder())
    (column,) = workspace.search(Query(index=0), NAMES[:1], "test", "t2v", 60)
    assert {result.status for result in column.results} == {"annotated", "unknown"}


def test_an_empty_text_is_no_query(workspace):
    with pytest.raises(ValueError, match="empty"):
        workspace.search(Query(text="  "), NAMES, "test", "t2v", 5)


def test_overlap_is_the_share_of_the_lists_that_is_in_both(workspace):
    a, b = workspace.search(Query(index=0), NAMES[:2], "test", "t2v", 10)
    ids = [{result.id for result in column.results} for column in (a, b)]
    assert overlap_at_k(a, b) == len(ids[0] & ids[1]) / len(ids[0])
    assert overlap_at_k(a, a) == 1


@pytest.mark.parametrize("truth", [True, False])
def test_disagreements_start_where_one_run_is_right_and_another_far_off(tmp_path, truth):
    data = make_dataset() if truth else replace(make_dataset(), truth=None)
    runs = list(make_workspace(tmp_path).runs.values())
    workspace = Workspace.of(runs, "shapes", lambda split: data, FakeEmbedder())
    order = workspace.disagreements(NAMES, "test", "t2v")
    kinds = (workspace.ranks, workspace.true_ranks) if truth else (workspace.ranks,)
    ranks = [np.stack([kind(name, "test", "t2v") for name in NAMES]) for kind in kinds]
    ratio = np.prod([rank.max(0) / rank.min(0) ** 2 for rank in ranks], axis=0)
    assert sorted(order) == list(range(120))
    assert ratio[order[0]] == pytest.approx(ratio.max())
    assert ratio[order[-1]] == pytest.approx(ratio.min())


def test_other_splits_are_embedded_when_asked_for(workspace):
    visual, text = workspace.embeddings("siglip", "validation")
    assert (len(visual), len(text)) == (20, 40)
    assert workspace.search(Query(index=39), ["siglip"], "validation", "t2v", 3)[0].annotated.rank >= 1


def test_caption_ids_count_within_their_visual(workspace):
    assert [workspace.item_id("test", "v2t", i) for i in (0, 1, 2)] == [
        "test-000#0",
        "test-000#1",
        "test-001#0",
    ]


# ---- opening ------------------------------------------------------------------------------------------------


def test_runs_of_other_data_are_set_apart_with_the_reason(tmp_path):
    runs = list(make_workspace(tmp_path).runs.values())
    other = replace(
        runs[0],
        name="foreign",
        config=replace(runs[0].config, dataset="emoji"),
        dataset=runs[0].dataset | {"fingerprints": {"test": "another"}},
    )
    older = replace(other, name="older", config=runs[0].config)
    workspace = Workspace.of([other, older, *runs], "shapes", make_dataset, FakeEmbedder())
    assert list(workspace.runs) == NAMES
    assert not workspace.problem
    assert (
        "trained on 'emoji'; to see it: python app.py --checkpoints checkpoints --dataset emoji"
        in workspace.apart["foreign"][1]
    )
    assert "another version" in workspace.apart["older"][1]
    with pytest.raises(UnknownName, match="not comparable here: trained on 'emoji'"):
        workspace.run("foreign")
    alone = Workspace.of([other], "shapes", make_dataset, FakeEmbedder())
    assert "No run in checkpoints was trained on 'shapes'" in alone.problem
    assert "python app.py --checkpoints checkpoints --dataset emoji" in alone.problem


def test_unknown_runs_are_answered_with_the_near_miss(workspace):
    with pytest.raises(UnknownName, match="did you mean 'siglip'"):
        workspace.run("siglp")


def test_no_runs_and_no_dataset_are_problems_not_errors(tmp_path):
    empty = make_workspace(tmp_path, names=())
    assert "There is no whole run in" in empty.problem
    assert len(empty.faults) == 1

    def gone(split):
        raise FileNotFoundError("it is gone")

    runs = list(make_workspace(tmp_path).runs.values())
    missing = Workspace.of(runs, "shapes", gone, FakeEmbedder())
    assert "it is gone" in missing.problem
    assert not missing.runs
    assert list(missing.apart) == NAMES


# ---- drawing ------------------------------------------------------------------------------------------------


def test_styles_follow_the_sorted_names_and_tell_runs_apart(tmp_path):
    data, runs = make_dataset(), list(make_workspace(tmp_path).runs.values())
    many = [replace(runs[0], name=f"run{i:02d}", data=data) for i in range(36)]
    workspace = Workspace.of(many[::-1], "shapes", make_dataset, FakeEmbedder())
    styles = list(workspace.styles([run.name for run in many]).values())
    assert [style.colour for style in styles[:2]] == ["#0072B2", "#D55E00"]
    assert len(set(styles)) == 36
    assert len({style.marker for style in styles[:6]}) == 6


def test_six_chosen_runs_never_share_a_colour_and_keep_theirs_where_it_is_free(tmp_path):
    """Of 26 names, any six: colours, markers and dashes differ; a name alone looks as its place among all tells."""
    names = [chr(97 + i) for i in range(26)]
    alone = {name: styles_of([name], names)[name] for name in names}
    assert styles_of(["a", "g"], names) == {
        "a": alone["a"],
        "g": style_at(1),
    }  # both would have the first colour
    for seed in range(200):
        chosen = np.random.default_rng(seed).choice(names, 6, replace=False).tolist()
        looks = styles_of(chosen, names)
        for part in ("colour", "marker", "dash"):
            assert len({getattr(look, part) for look in looks.values()}) == 6
        assert looks == styles_of(chosen[::-1], names)  # the order of choosing changes nothing
        assert looks[min(chosen)] == alone[min(chosen)]


def test_thumbnails_are_small_written_once_and_belong_to_their_data(workspace, monkeypatch):
    path = workspace.thumbnail("test", 5)
    with Image.open(path) as image:
        assert max(image.size) <= 256
    assert path.is_relative_to(workspace.thumbnails)
    assert path.stat().st_size < 8_000
    written = path.stat().st_mtime_ns
    assert workspace.thumbnail("test", 5) == path
    assert path.stat().st_mtime_ns == written
    assert workspace.thumbnail("validation", 5) != path
    assert not [other for other in path.parent.iterdir() if other.suffix != ".webp"]


def test_data_without_pictures_have_no_thumbnails(tmp_path):
    data = replace(make_dataset(), visuals=None, visual_features=np.ones((60, 4), np.float32))
    runs = list(make_workspace(tmp_path).runs.values())
    assert Workspace.of(runs, "shapes", lambda split: data, FakeEmbedder()).thumbnail("test", 0) is None


def test_a_value_is_made_once_whatever_the_threads_do():
    memo, made, found = Memo(), [], []

    def make():
        made.append(1)
        time.sleep(0.05)
        return object()

    threads = [threading.Thread(target=lambda: found.append(memo.get("key", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len({id(value) for value in found}) == 1


def test_what_could_not_be_made_is_tried_again():
    memo, attempts = Memo(), iter([ValueError("not yet"), 7])

    def make():
        value = next(attempts)
        if isinstance(value, Exception):
            raise value
        return value

    with pytest.raises(ValueError, match="not yet"):
        memo.get("key", make)
    assert memo.get("key", make) == 7


def test_a_run_that_cannot_answer_says_so_in_its_column(workspace, monkeypatch):
    def refuse(run, texts, encoded):
        if run.name == "siglip":
            raise ValueError("no encoder is known")
        return FakeEmbedder().embed_texts(run, texts, encoded)

    monkeypatch.setattr(workspace.embedder, "embed_texts", refuse)
    good, _, bad = workspace.search(Query(text="free words"), NAMES, "test", "t2v", 5)
    assert len(good.results) == 5
    assert (bad.fault, bad.results, bad.annotated) == ("no encoder is known", [], None)


def test_free_queries_are_embedded_once_and_runs_share_what_encoders_made_of_them(workspace, monkeypatch):
    asked, shared = [], []
    real = workspace.embedder.embed_texts

    def embed_texts(run, texts, encoded):
        asked.append(run.name)
        shared.append(encoded)
        return real(run, texts, encoded)

    monkeypatch.setattr(workspace.embedder, "embed_texts", embed_texts)
    for k in (3, 5):
        workspace.search(Query(text="free words"), NAMES, "test", "t2v", k)
    assert asked == NAMES
    assert all(encoded is shared[0] for encoded in shared)
    workspace.search(Query(text="other words"), NAMES[:1], "test", "t2v", 3)
    assert shared[-1] is not shared[0]


def test_one_run_alone_shows_its_worst_queries_first(workspace):
    order = workspace.disagreements(["siglip"], "test", "v2t")
    found = workspace.ranks("siglip", "test", "v2t") * workspace.true_ranks("siglip", "test", "v2t")
    assert found[order[0]] == found.max()


def test_a_recall_below_one_builds_an_approximate_index_of_a_large_gallery(tmp_path, monkeypatch):
    from xmr.search import approximate

    monkeypatch.setenv("XMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(approximate, "EXACT_UP_TO", 10)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 8))
    rows = centres[rng.integers(0, 30, 12_000)] + 0.3 * rng.normal(size=(12_000, 8))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    workspace = make_workspace(tmp_path)
    workspace.recall = 0.8
    run = workspace.run("siglip")
    monkeypatch.setattr(type(run), "embeddings", lambda self: (vectors, vectors[:6000]))
    index = workspace.index("siglip", "test", "v")
    assert index.facts.kind == "ivf_sq8" and min(index.facts.recall.values()) >= 0.8
    assert workspace.index("siglip", "test", "v") is index
    workspace = make_workspace(tmp_path)
    assert isinstance(workspace.index("siglip", "test", "v"), ExactIndex)


# ---- what is read of a typed query --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a red circle", ""),
        ("a red zebra", "1 of its 3 words unknown"),
        ("zebra zebras", "all its words unknown"),
        ("🙂", ""),
        ("a " * 129, "only its first 128 words are read"),
        ("zebra " * 129, "only its first 128 words are read · all its words unknown"),
    ],
)
def test_what_the_runs_do_not_read_of_a_query_is_said(workspace, text, said):
    assert unread_words(workspace, text, NAMES) == said
    facts = answer(workspace, Asked("text", "test", "t2v", text=text), NAMES, NAMES[0], 4)["query"]["facts"]
    assert facts.endswith(said) and (said or "read" not in facts.removeprefix("reads like"))


def test_runs_that_read_a_query_otherwise_are_named(workspace, monkeypatch):
    def run_reads(run, texts):
        if run.name == NAMES[0]:
            raise ValueError("no encoder")
        return [TextsRead(1, 1, 0, 77, "tokens")] if run.name == NAMES[1] else []

    monkeypatch.setattr(workspace.embedder, "run_reads", run_reads)
    assert unread_words(workspace, "long", NAMES) == f"only its first 77 tokens are read by {NAMES[1]}"
