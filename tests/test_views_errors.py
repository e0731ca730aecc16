"""The errors tab: which queries are listed, in which order, what is told of them, and what leaves it as files."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.fake_workspace import (
    MARKUP,
    make_classes,
    make_clips,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.viewed import pages_of, see
from xmr.analysis import hits, mean_interval
from xmr.figures.errors import RANK_BINS
from xmr.views import beside, error_charts, error_lists, error_rows, view
from xmr.views.error_lists import Asked
from xmr.words import fixed, percent
from xmr.workspace.item_names import find_item

RUNS = ["info_nce", "max_of_hinges", "siglip"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


def asked(**changes):
    start = Asked("test", "t2v", "info_nce", "siglip", ("max_of_hinges",), 1, order="a")
    return replace(start, **changes)


def errors(workspace, act=None, **state):
    return see(workspace, act, **{"tab": "errors", "runs": RUNS, "baseline": "info_nce"} | state)


# ---- what is listed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("k", [1, 5])
def test_every_bucket_lists_what_a_loop_finds(workspace, direction, k):
    data = workspace.dataset()
    of = asked(direction=direction, k=k)
    a, b = (workspace.ranks(run, "test", direction) for run in of.pair)
    groups = (data.visual_group, data.text_group)[:: 1 if direction == "v2t" else -1]
    expected = {name: set() for name in ("all right", "only A", "only B", "all wrong", "missed", "hidden")}
    for query in range(len(a)):
        right = a[query] <= k, b[query] <= k
        name = {(True, True): "all right", (True, False): "only A", (False, True): "only B"}.get(
            right, "all wrong"
        )
        expected[name].add(query)
        if k + 1 in (a[query], b[query]):
            expected["missed"].add(query)
        for run in of.pair:
            item = int(workspace.top(run, "test", direction)[query, 0])
            pair = (query, item) if direction == "v2t" else (item, query)
            true = data.truth.pairs(np.array([pair[0]]), np.array([pair[1]]))[0] > 0
            if true and groups[0][query] != groups[1][item]:
                expected["hidden"].add(query)
    expected[error_lists.MISSED] = expected.pop("missed")
    expected[error_lists.HIDDEN] = expected.pop("hidden")
    for bucket, queries in expected.items():
        assert set(error_lists.listed(workspace, replace(of, bucket=bucket)).tolist()) == queries
    assert sum(map(bool, expected.values())) >= 4, "the cases must occur"
    everyone = error_lists.listed(workspace, of)
    assert sorted(everyone.tolist()) == list(range(len(a)))
    assert (np.diff(a[everyone]) <= 0).all(), "the worst under A first"


def test_slice_and_ranks_narrow_the_list_together(workspace):
    ways = error_lists.slicings(workspace, "test", "t2v")
    assert {"words in a caption", "colour", "shape"} <= set(ways)
    of = asked(slicing="colour", slice="red", cell=(2, 5))
    a, b = (workspace.ranks(run, "test", "t2v") for run in of.pair)
    data = workspace.dataset()
    red = [data.columns["colour"][visual] == "red" for visual in data.visual_of_text]
    expected = [q for q in range(len(a)) if red[q] and a[q] == 2 and 5 <= b[q] < 9]
    assert sorted(error_lists.listed(workspace, of).tolist()) == expected
    # The last bin has no end.
    last = asked(cell=(RANK_BINS[-1], 1))
    assert error_lists.listed(workspace, last).tolist() == []
    assert error_lists.filter_words(of) == "colour: red · rank 2 under A and rank 5–8 under B"


def test_orders_put_the_largest_ratio_or_the_worst_rank_first_and_no_match_last():
    ranks = np.array([[1.0, 1, 8, np.nan, 40, 3], [8, 2, 1, 1, 80, 3]])
    assert error_lists.ordered(ranks, "differ").tolist() == [0, 2, 1, 4, 5, 3]
    assert error_lists.ordered(ranks, "a").tolist() == [4, 2, 5, 0, 1, 3]
    assert error_lists.ordered(ranks, "b").tolist() == [4, 0, 5, 1, 2, 3]
    assert error_lists.ordered(ranks[:1], "differ").tolist() == [4, 2, 5, 0, 1, 3]


def test_a_seed_draws_the_same_queries_and_a_filter_only_leaves_some_out(workspace):
    first, second, other = (
        error_lists.listed(workspace, asked(order="random", seed=seed)).tolist() for seed in (3, 3, 4)
    )
    assert first == second != other
    kept = error_lists.listed(workspace, asked(order="random", seed=3, bucket="only A")).tolist()
    assert kept and [query for query in first if query in set(kept)] == kept


def test_a_and_b_follow_the_sidebar_until_they_are_chosen(workspace):
    def compared(runs, baseline, a="", b=""):
        seen = errors(workspace, runs=runs, baseline=baseline, a=a, b=b)
        return seen["errors-about"]["text"]

    assert compared(RUNS, "siglip") == "A is siglip, B is info_nce."
    assert compared(RUNS, "siglip", a="info_nce") == "A is info_nce, B is max_of_hinges."
    assert compared(["siglip"], "siglip", b="info_nce") == "A is siglip, B is info_nce."
    for same in ("", "siglip"):
        assert compared(["siglip"], "siglip", same, same) == "A is siglip, and there is no B."


def test_what_is_not_there_is_told_and_left_out(workspace):
    for wrong, told in (
        ({"slicing": "color", "slice": "red"}, "did you mean 'colour'"),
        ({"slicing": "colour", "slice": "grean"}, "did you mean 'green'"),
        ({"bucket": "only C"}, "did you mean"),
        *(({"ranks": cell}, "two first ranks") for cell in ("2", "2.4", "2.9.9", "a.b", "-1.2")),
    ):
        seen = errors(workspace, **wrong)
        assert told in seen.said[0] and seen["errors-listed"]["text"] == "Listed: all queries, 120."
    seen = errors(workspace, ranks="2.9")
    assert not seen.said and "rank 2 under A and rank 9–16 under B" in seen["errors-listed"]["text"]
    alone = errors(workspace, runs=["info_nce"], bucket="only A")
    assert "No query is in “only A”" in alone.said[0] and alone.state["bucket"] == ""


# ---- what is done ------------------------------------------------------------------------------------------


def test_a_click_filters_the_list_and_brings_it_into_sight(workspace):
    for act, key, value in (
        (("errors-buckets", "select", {"meta": {"bucket": "only A"}}), "bucket", "only A"),
        (("errors-ranks", "select", {"column": 1, "row": 3}), "ranks", "2.5"),
        (("errors-slices", "select", {"customdata": ["red"]}), "slice", "red"),
    ):
        seen = errors(workspace, act, slicing="colour", page=2)
        assert (seen.state[key], seen.state["page"], seen.go, seen.said) == (value, 0, "errors-found", [])
        assert seen.state == errors(workspace, **seen.state).state  # a link shows the same
        everything = errors(workspace, **seen.state | seen["errors-clear"]["set"])
        assert everything["errors-listed"]["text"] == "Listed: all queries, 120."
    for block, data in (
        ("errors-buckets", {"meta": {"bucket": ["only A"]}}),
        ("errors-buckets", {"meta": 3}),
        ("errors-ranks", {"column": 99, "row": 0}),
        ("errors-ranks", {"column": True, "row": 0}),
        ("errors-slices", {"customdata": "red"}),
        ("errors-slices", None),
    ):
        seen = errors(workspace, (block, "select", data), slicing="colour")
        assert seen["errors-listed"]["text"] == "Listed: all queries, 120."


def test_another_sample_is_first_that_of_the_seed_then_the_next(workspace):
    first = errors(workspace, draw=7)["errors-another"]["set"]
    assert (first["order"], first["draw"]) == ("random", 7)
    second = errors(workspace, **first)["errors-another"]["set"]
    assert second["draw"] == 8
    assert errors(workspace, order="random", draw=999_999)["errors-another"]["set"]["draw"] == 0


def test_a_query_of_the_list_and_a_hub_are_opened_and_made_up_ones_refused(workspace):
    def opened(data, block="errors-list", **state):
        state = {"tab": "errors", "runs": ["info_nce"], "b": "siglip"} | state
        act = {"block": block, "event": "open", "data": data}
        return view(pages_of(workspace), state, act)

    to = opened({"index": 7})["state"]
    assert (to["tab"], to["direction"], to["runs"]) == ("search", "t2v", ["info_nce", "siglip"])
    assert find_item(workspace, "test", to["query"]) == ("caption", 7)
    hub = opened({"index": 7}, "errors-hub-list")["state"]
    assert hub["direction"] == "v2t" and find_item(workspace, "test", hub["query"]) == ("visual", 7)
    for wrong in ({"index": 120}, {"index": -1}, {"index": "7"}, {"index": True}, {}, None, "7"):
        assert "not in this split" in opened(wrong)["fault"]
    assert "not in this split" in opened({"index": 60}, "errors-hub-list")["fault"]


def test_a_run_that_is_still_ranked_is_said_and_asked_for_again(workspace, monkeypatch):
    from xmr.views import error_lists as lists
    from xmr.views import errors as tab

    for module in (lists, tab):
        monkeypatch.setattr(module, "is_awaited", lambda _, run, split: run == "siglip")
    seen = errors(workspace, a="siglip")
    assert "siglip is measured in the background" in seen.words("errors-buckets") and seen.again
    beside_it = errors(workspace, a="info_nce", b="max_of_hinges")
    assert beside_it.again and "siglip is measured in the background" in beside_it.words("errors-hubs")
    assert {one["run"] for one in beside_it.value("errors-list")["rows"][0]["numbers"]} == set(RUNS[:2])


# ---- rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_a_row_tells_ranks_first_results_and_near_misses(workspace, direction):
    of = asked(direction=direction)
    seen = errors(workspace, direction=direction, b="siglip", order="a", page=1)
    value, queries = seen.value("errors-list"), error_lists.listed(workspace, of)
    assert seen["errors-where"]["text"] == f"13–24 of {len(queries)}"
    found = [row["index"] for row in value["rows"]]
    assert found == queries[12:24].tolist()
    visual, text = workspace.embeddings("info_nce")
    asking, gallery = (visual, text) if direction == "v2t" else (text, visual)
    for row in value["rows"]:
        query = row["index"]
        ranks = {run: int(workspace.ranks(run, "test", direction)[query]) for run in of.runs}
        assert {one["run"]: one["value"] for one in row["numbers"]} == {r: str(n) for r, n in ranks.items()}
        assert [one["letter"] for one in row["numbers"]] == ["A", "B", ""]
        badges = [badge["text"] for badge in row["badges"]]
        assert ("A missed by one place" in badges) == (ranks["info_nce"] == 2)
        assert ("B missed by one place" in badges) == (ranks["siglip"] == 2)
        right = ranks["info_nce"] == 1, ranks["siglip"] == 1
        said = {(True, True): "both right", (False, False): "both wrong", (True, False): "only A right"}
        assert badges[0] == said.get(right, "only B right")
        scores = gallery @ asking[query]
        best = np.flatnonzero(scores >= scores.max() - 1e-6).tolist()  # captions that read alike tie
        side = "visual" if direction == "t2v" else "caption"
        names = [error_rows.item_of(workspace, "test", side, item)["name"] for item in best]
        assert row["tops"][0]["name"] in names
        assert not right[0] or row["tops"][0]["kind"] == "match"


def test_pages_stop_at_both_ends_and_an_empty_list_names_its_filter(workspace):
    before = errors(workspace, ("errors-previous", "change", None))
    assert (before["errors-where"]["text"], before.state["page"]) == ("1–12 of 120", 0)
    last = errors(workspace, page=99)
    assert (last["errors-where"]["text"], last.state["page"]) == ("109–120 of 120", 9)
    after = errors(workspace, ("errors-next", "change", 1), **last.state)
    assert after.state["page"] == 9
    twice = errors(workspace, ("errors-next", "change", 2))
    assert (twice["errors-where"]["text"], twice.state["page"]) == ("25–36 of 120", 2)
    for made_up in (-1, 10**9, True, "2", [2]):
        assert errors(workspace, ("errors-next", "change", made_up)).state["page"] == 1
    empty = errors(workspace, ranks="1025.1025")
    assert (empty.names("errors-list"), empty["errors-where"]["text"]) == ([], "none")
    told = empty.value("errors-list")["empty"]
    assert "rank 1025+ under A" in told and "clear the filters" in told


# ---- charts and files --------------------------------------------------------------------------------------


def test_charts_have_words_numbers_and_something_to_click(workspace):
    of = asked(slicing="shape")
    seen = errors(workspace, b="siglip", slicing="shape")
    bar, counts = error_charts.bucket_chart(workspace, of)
    assert (
        counts["all"] == 120 == sum(counts[name] for name in ("all right", "only A", "only B", "all wrong"))
    )
    for bucket, count in counts.items():
        assert len(error_lists.listed(workspace, replace(of, bucket=bucket))) == count
    assert seen.value("errors-buckets") == bar
    assert [trace["meta"]["bucket"] for trace in bar["figure"]["data"]] == list(counts)[1:5]
    assert f"On {counts[error_lists.MISSED]} queries one of them misses by one place" in bar["words"]
    assert len(bar["table"]["rows"]) == 6
    cells = seen.value("errors-ranks")
    size = cells["figure"]["layout"]["meta"]["cells"][0]
    of_row = [[int(cell) for cell in row[1:]] for row in cells["table"]["rows"]]
    assert len(of_row) == size and sum(map(sum, of_row)) == 120
    at = next((r, c) for r in range(size) for c in range(size) if of_row[r][c] > of_row[c][r])
    cell = RANK_BINS[at[1]], RANK_BINS[at[0]]  # a column is A's rank
    assert len(error_lists.listed(workspace, replace(of, cell=cell))) == of_row[at[0]][at[1]]
    shapes = seen.value("errors-slices")
    assert shapes["table"]["columns"] == ["slice", "queries", "info_nce", "siglip", "B − A"]
    assert {point[0] for point in shapes["figure"]["data"][0]["customdata"]} == set(
        error_lists.slicings(workspace, "test", "t2v")["shape"]
    )
    assert "By shape" in shapes["words"]


def test_one_run_alone_has_buckets_slices_and_hubs(workspace):
    seen = errors(workspace, runs=["info_nce"], slicing="colour")
    right = int((workspace.ranks("info_nce", "test", "t2v") == 1).sum())
    offered = [words for words, _ in seen["errors-bucket"]["options"]]
    assert f"all right · {right}" in offered and f"all wrong · {120 - right}" in offered
    assert not any(words.startswith("only A") for words in offered)
    assert "need two runs" in seen.words("errors-ranks")
    assert "info_nce is best on" in seen.words("errors-slices")
    assert seen.names("errors-table") == ["info_nce"]
    row = seen.value("errors-list")["rows"][0]
    assert [top["who"] for top in row["tops"]] == ["A"] and row["badges"][0]["text"] == "wrong"


def test_hubs_count_the_lists_that_hold_an_item(workspace):
    seen = errors(workspace, b="siglip")
    counts = {run: np.zeros(60, int) for run in RUNS}
    for run in RUNS:
        for line in workspace.top(run, "test", "t2v"):
            counts[run][line] += 1
    rows = {row["name"]: row["cells"] for row in seen.value("errors-table")["rows"]}
    for run in RUNS:
        assert rows[run][1] == str(counts[run].max())
        gap = np.linalg.norm(np.subtract(*(side.mean(0) for side in workspace.embeddings(run))))
        assert rows[run][5] == f"{gap:.3f}"
    assert "strongest hubs" in seen.words("errors-hubs")
    largest = np.max(list(counts.values()), 0)
    shown = seen.value("errors-hub-list")["rows"]
    best = sorted(largest.tolist(), reverse=True)[: len(shown)]
    assert largest[[row["index"] for row in shown]].tolist() == best
    for row in shown:
        assert {one["run"]: one["value"] for one in row["numbers"]} == {
            run: str(counts[run][row["index"]]) for run in RUNS
        }


def test_the_csv_has_every_listed_query_and_no_formula(tmp_path):
    bad = make_workspace(tmp_path)
    load = bad.load

    def changed(split):
        data = load(split)
        captions = ["=HYPERLINK(1) red", "@SUM(A1) blue", *data.captions[2:]]
        return replace(data, captions=captions, visual_ids=["twice", "twice", *data.visual_ids[2:]])

    bad.load = changed
    bad._memo._values.clear()
    of = asked(order="random", seed=2)
    lines = list(csv.reader(io.StringIO(error_rows.as_csv(bad, of))))
    queries = error_lists.listed(bad, of)
    assert len(lines) == 121
    head, body = lines[0], lines[1:]
    assert head[:3] == ["query", "text", "rank under info_nce"]
    assert [find_item(bad, "test", line[0])[1] for line in body] == queries.tolist()
    texts = {query: line[1] for query, line in zip(queries.tolist(), body, strict=True)}
    assert texts[0] == "'=HYPERLINK(1) red" and texts[1] == "'@SUM(A1) blue"
    assert texts[2] == bad.dataset().captions[2] and MARKUP in texts[7]
    ranks = bad.ranks("siglip", "test", "t2v")[queries]
    assert [int(line[head.index("rank under siglip")]) for line in body] == ranks.tolist()
    missed = [int(line[head.index("siglip missed by one place")]) for line in body]
    assert missed == (ranks == 2).astype(int).tolist()
    counts = error_charts.bucket_chart(bad, of)[1]
    place = next(at for at, name in enumerate(head) if name.startswith("bucket at 1"))
    for bucket in ("all right", "only A", "only B", "all wrong"):
        assert sum(line[place] == bucket for line in body) == counts[bucket]


def test_the_latex_table_has_the_slices_and_escapes_names(workspace):
    text = error_charts.as_latex(workspace, asked(slicing="colour", k=5))
    lines = text.splitlines()[3:]
    assert lines[1:3] == [r"\begin{tabular}{lrrrr}", r"\toprule"] and lines[-1] == r"\end{tabular}"
    assert r"info\_nce" in lines[3] and "_nce" not in lines[3].replace(r"\_nce", "")
    slicing = error_lists.slicings(workspace, "test", "t2v")["colour"]
    body = [line.removesuffix(r" \\").split(" & ") for line in lines[5:-2]]
    assert [row[0] for row in body] == list(slicing)
    a, b = (hits(workspace.ranks(run, "test", "t2v"), 5) for run in ("info_nce", "siglip"))
    visuals = workspace.dataset("test").visual_of_text
    for row, queries in zip(body, slicing.values(), strict=True):
        assert row[1] == str(len(queries))
        for cell, values, sign in ((row[2], a, ""), (row[3], b, ""), (row[4], b - a, "+")):
            mean, low, high = (100 * number for number in mean_interval(values[queries], visuals[queries]))
            ends = [fixed(one, 1, sign=bool(sign)) for one in (mean, low, high)]
            assert cell.replace("$-$", "−") == f"{ends[0]} [{ends[1]}, {ends[2]}]"


@pytest.mark.parametrize("make", [make_clips, make_pictures, make_classes])
@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_clips_pictures_and_classes_are_examined_too(tmp_path, cache_folder, make, direction):
    other = make_other(tmp_path, make, {"siglip": "cross_attention"})
    data, seen = other.dataset(), errors(other, direction=direction, b="siglip")
    assert all(seen.value(f"errors-{one}")["figure"] for one in ("buckets", "ranks", "slices"))
    offered = [name for _, name in seen["errors-bucket"]["options"]]
    assert (error_lists.HIDDEN in offered) == (data.truth is not None)
    value = seen.value("errors-list")
    assert len(value["rows"]) == 12
    first = value["rows"][0]
    assert (first["film"] is not None) == (make is make_clips and direction == "v2t")
    if make is make_pictures:
        assert first["image"] and all(one["image"] for one in first["tops"])
    if make is make_classes:
        assert first["text"].split(" · ")[0] in data.classes
        told = {one["status"] for row in value["rows"] for one in row["tops"]}
        assert told <= {"same class", "another class"}
    numbers = seen.value("errors-table")
    scored = next(row for row in numbers["rows"] if row["name"] == "siglip")
    assert scored["cells"][-4:] == ["–"] * 4 and "siglip scores pairs" in numbers["note"]
    assert seen.value("errors-hub-list")["rows"]
    file = beside(pages_of(other), seen.state, "file", {"name": "errors.csv"})
    assert file["text"].count("\r\n") == 1 + len(other.ranks("siglip", "test", direction))


def test_no_run_and_a_split_that_cannot_be_embedded_have_words(workspace, tmp_path):
    nobody = errors(workspace, runs=["-"], baseline="")
    assert "pick one as A" in nobody.words("errors-buckets")
    assert (
        "pick one as A" in beside(pages_of(workspace), nobody.state, "file", {"name": "errors.csv"})["fault"]
    )
    broken = make_workspace(tmp_path)

    def fail(run, dataset):
        raise OSError("the encoder's folder is missing")

    broken.embedder.embed_dataset = fail
    assert "encoder's folder is missing" in errors(broken, split="validation").words("errors-buckets")


# ---- every sentence, against numbers computed another way ----------------------------------------------------


def slow_ranks(workspace, run, direction, truth=False):
    """Rank of every query's best match, by a loop over the gallery."""
    data = workspace.dataset()
    visual, text = (side.astype(np.float64) for side in workspace.embeddings(run, "test"))
    scores, own = visual @ text.T, data.visual_group[:, None] == data.text_group[None]
    if truth:
        own = np.stack(
            [data.truth.pairs(np.full(len(text), visual), np.arange(len(text))) > 0 for visual in range(60)]
        )
    if direction == "t2v":
        scores, own = scores.T, own.T
    # Ties count against it.
    return [
        1 + sum(bool(score >= row[mine].max() - 1e-6) for score in row[~mine])
        for row, mine in zip(scores, own, strict=True)
    ]


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("counted", ["annotation", "truth"])
def test_the_sentences_are_what_loops_say(workspace, direction, k, counted):
    seen = errors(workspace, b="siglip", direction=direction, at=k, slicing="shape", counted=counted)
    truth = counted == "truth"
    a, b = (slow_ranks(workspace, run, direction, truth) for run in ("info_nce", "siglip"))
    total, pairs = len(a), list(zip(a, b, strict=True))

    def share(right):
        count = sum(right(one <= k, other <= k) for one, other in pairs)
        return percent(count / total), count

    both, neither = share(lambda x, y: x and y), share(lambda x, y: not (x or y))
    alone = share(lambda x, y: x and not y), share(lambda x, y: y and not x)
    where = "first" if k == 1 else f"among the first {k}"
    words = seen.words("errors-buckets")
    assert (
        f"both have {'a true' if truth else 'an annotated'} match {where} for {both[0]} of the queries, neither for {neither[0]}; info_nce alone for {alone[0][0]}, siglip alone for {alone[1][0]}."
        in words
    )
    best = "siglip" if alone[1][1] > alone[0][1] else "info_nce"
    gain = 100 * min(alone[0][1], alone[1][1]) / total
    assert (
        f"would be right for {percent(1 - neither[1] / total)}, {gain:.1f} points more than {best}." in words
    )
    missed = sum(k + 1 in pair for pair in pairs)
    assert f"On {missed:,} queries one of them misses by one place." in words
    better = [sum(x < y for x, y in pairs), sum(y < x for x, y in pairs)]
    assert seen.words("errors-ranks") == (
        f"Rank of the {'first true' if truth else 'annotated'} match: {better[0]} queries stand better under info_nce, {better[1]} under siglip, {total - sum(better)} equally."
    )
    told = seen.words("errors-slices")
    found = re.search(
        r"siglip is ([\d.]+) points (above|below) info_nce on “(\w+)” on this seed \(.*, (\d+) queries\); .* in (\d+) of (\d+) slices, uncorrected",
        told,
    )
    kinds = workspace.dataset().columns["shape"]
    visuals = workspace.dataset().visual_of_text if direction == "t2v" else range(60)
    names = {kinds[visual] for visual in visuals}
    if found is None:
        assert "can't be told apart on any slice on this seed: every interval holds 0" in told
        return
    points, way, name, queries, sure, of = found.groups()
    own = [pair for pair, visual in zip(pairs, visuals, strict=True) if kinds[visual] == name]
    mean = 100 * sum((y <= k) - (x <= k) for x, y in own) / len(own)
    assert (float(points), way) == (pytest.approx(abs(mean), abs=0.051), "above" if mean > 0 else "below")
    assert (int(queries), int(of)) == (len(own), len(names)) and 1 <= int(sure) <= int(of)


def test_what_is_right_can_be_counted_by_the_truth_where_it_is_known(workspace, tmp_path, cache_folder):
    by_annotation, by_truth = (
        errors(workspace, b="siglip", counted=one, bucket="all wrong") for one in ("annotation", "truth")
    )
    listed = {}
    for name, seen in (("annotation", by_annotation), ("truth", by_truth)):
        offered = {value: words for words, value in seen["errors-bucket"]["options"]}
        listed[name] = int(offered["all wrong"].split()[-1])
        a, b = (slow_ranks(workspace, run, "t2v", name == "truth") for run in ("info_nce", "siglip"))
        assert listed[name] == sum(x > 1 and y > 1 for x, y in zip(a, b, strict=True))
    assert listed["truth"] < listed["annotation"]
    assert by_truth["errors-listed"]["text"].startswith("Listed: all wrong by the truth,")
    assert "rank of the first true match" in by_truth.value("errors-list")["about"]
    name, text = error_rows.as_csv, asked(counted="truth")
    assert name(workspace, text).startswith("query,text,true rank under info_nce")
    classes = make_other(tmp_path, make_classes)
    seen = see(classes, tab="errors", counted="truth")
    assert seen.state["counted"] == "annotation" and "errors-counted" not in seen
    assert any("truth of every pair" in words for words in seen.said)
