"""The errors tab: its lists, charts and exports as functions, then journeys in a browser."""

import csv
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.charts import click_in, see_chart
from tests.fake_workspace import (
    MARKUP,
    make_classes,
    make_clips,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.run_chooser import untick
from xmr.analysis import hits, mean_interval
from xmr.figures.errors import RANK_BINS
from xmr.ui import error_charts, error_lists, error_rows, error_views
from xmr.ui.error_lists import Asked
from xmr.ui.tabs import errors
from xmr.words import fixed
from xmr.workspace.item_names import find_item
from xmr.workspace.measured import top

RUNS = ["info_nce", "max_of_hinges", "siglip"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


def asked(**changes):
    start = Asked("test", "t2v", "info_nce", "siglip", ("max_of_hinges",), 1, order="a")
    return replace(start, **changes)


def words(value):
    return json.loads(value)["words"]


def read(workspace, runs=RUNS, baseline="info_nce", a="", b="", slicing="", slice_="", cell="", seed=0):
    of = ("test", "t2v", runs, baseline, a, b, 1, "all", slicing, slice_, cell, "differ", seed)
    return error_views.read(workspace, *of)


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
            item = int(top(workspace, run, "test", direction)[query, 0])
            pair = (query, item) if direction == "v2t" else (item, query)
            true = data.truth.pairs(np.array([pair[0]]), np.array([pair[1]]))[0] > 0
            if true and groups[0][query] != groups[1][item]:
                expected["hidden"].add(query)
    expected[error_lists.MISSED], expected[error_lists.HIDDEN] = (
        expected.pop("missed"),
        expected.pop("hidden"),
    )
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
    compared = error_views.compared
    assert compared(workspace, RUNS, "siglip", "", "") == ("siglip", "info_nce", ("max_of_hinges",))
    assert compared(workspace, RUNS, "siglip", "info_nce", "") == ("info_nce", "max_of_hinges", ("siglip",))
    assert compared(workspace, ["siglip"], "siglip", "", "info_nce") == ("siglip", "info_nce", ())
    assert compared(workspace, ["siglip"], "siglip", "", "") == ("siglip", "", ())
    assert compared(workspace, ["siglip"], "siglip", "siglip", "siglip") == ("siglip", "", ())
    assert compared(workspace, [], "siglip", "", "")[0] == ""
    assert compared(workspace, ["no such"], "no such", "no such", "") == ("", "", ())


def test_what_is_not_there_is_told_and_left_out(workspace):
    with pytest.warns(UserWarning, match="did you mean 'colour'"):
        of = read(workspace, slicing="color", slice_="red")
    assert (of.slicing, of.slice) == ("words in a caption", "")
    with pytest.warns(UserWarning, match="did you mean 'green'"):
        assert read(workspace, slicing="colour", slice_="grean").slice == ""
    assert read(workspace, seed=None).seed == 0
    assert read(workspace, cell="2.9").cell == (2, 9)
    for wrong in ("2", "2.4", "2.9.9", "a.b", "-1.2"):
        with pytest.raises(ValueError, match="two first ranks"):
            error_views.cell_of([wrong])


# ---- rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_a_row_tells_ranks_first_results_and_near_misses(workspace, direction):
    of = asked(direction=direction)
    value, where, told, page = error_views.show_list(workspace, of, 1)
    queries = error_lists.listed(workspace, of)
    assert (where, page) == (f"13–24 of {len(queries)}", 1)
    assert f"all queries, {len(queries)}" in told
    assert len(json.dumps(value)) < 300_000
    found = [row["index"] for row in value["rows"]]
    assert found == queries[12:24].tolist()
    visual, text = (workspace.embeddings(run)[side] for run in ("info_nce",) for side in (0, 1))
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
        assert row["tops"][0]["kind"] == ("match" if right[0] else row["tops"][0]["kind"])


def test_pages_stop_at_both_ends_and_an_empty_list_names_its_filter(workspace):
    _, where, _, page = error_views.show_list(workspace, asked(), -1)
    assert (where, page) == ("1–12 of 120", 0)
    _, where, _, page = error_views.show_list(workspace, asked(), 99)
    assert (where, page) == ("109–120 of 120", 9)
    value, where, _, _ = error_views.show_list(workspace, asked(cell=(1025, 1025)), 0)
    assert (value["rows"], where) == ([], "none")
    assert "rank 1025+ under A" in value["empty"] and "clear the filters" in value["empty"]


def test_a_query_of_the_list_and_a_hub_are_opened_and_made_up_ones_refused(workspace):
    class Event:
        def __init__(self, data):
            self._data = data

    def opened(data, **more):
        return error_views.picked(workspace, asked(direction="t2v"), ["info_nce"], Event(data), **more)

    move = opened({"index": 7})
    assert (move["tab"], move["direction"], move["runs"]) == ("search", "t2v", ["info_nce", "siglip"])
    assert find_item(workspace, "test", move["query"]) == ("caption", 7)
    hub = opened({"index": 7}, gallery=True)
    assert hub["direction"] == "v2t" and find_item(workspace, "test", hub["query"]) == ("visual", 7)
    for wrong in ({"index": 120}, {"index": -1}, {"index": "7"}, {"index": True}, {}, None, "7"):
        with pytest.raises(gr.Error, match="not in this split"):
            opened(wrong)
    with pytest.raises(gr.Error):
        opened({"index": 60}, gallery=True)


# ---- charts and exports ----------------------------------------------------------------------------------


def test_charts_have_words_numbers_and_something_to_click(workspace):
    of = asked(slicing="shape")
    bar, ranks, slices, counts = error_views.show_charts(workspace, of)
    assert (
        counts["all"] == 120 == sum(counts[name] for name in ("all right", "only A", "only B", "all wrong"))
    )
    for bucket, count in counts.items():
        assert len(error_lists.listed(workspace, replace(of, bucket=bucket))) == count
    drawn = json.loads(bar)
    assert [trace["meta"]["bucket"] for trace in drawn["figure"]["data"]] == list(counts)[1:5]
    assert f"On {counts[error_lists.MISSED]} queries one of them misses by one place" in drawn["words"]
    assert len(drawn["table"]["rows"]) == 6
    cells = json.loads(ranks)
    size = cells["figure"]["layout"]["meta"]["cells"][0]
    assert len(cells["table"]["rows"]) == size
    total = sum(int(cell) for row in cells["table"]["rows"] for cell in row[1:])
    assert total == 120
    of_row = [row[1:] for row in cells["table"]["rows"]]
    at = next((r, c) for r in range(size) for c in range(size) if int(of_row[r][c]) > int(of_row[c][r]))
    cell = RANK_BINS[at[1]], RANK_BINS[at[0]]  # a column is A's rank
    found = len(error_lists.listed(workspace, replace(of, cell=cell)))
    assert found == int(of_row[at[0]][at[1]])
    shapes = json.loads(slices)
    assert shapes["table"]["columns"] == ["slice", "queries", "info_nce", "siglip", "B − A"]
    assert {point[0] for point in shapes["figure"]["data"][0]["customdata"]} == set(
        error_lists.slicings(workspace, "test", "t2v")["shape"]
    )
    assert "By shape" in shapes["words"]
    assert sum(map(len, (bar, ranks, slices))) < 300_000


def test_one_run_alone_has_buckets_slices_and_hubs(workspace):
    of = asked(b="", others=(), slicing="colour")
    bar, ranks, slices, counts = error_views.show_charts(workspace, of)
    right = int((workspace.ranks("info_nce", "test", "t2v") == 1).sum())
    assert (counts["all right"], counts["all wrong"]) == (right, 120 - right)
    assert "only A" not in counts
    assert "need two runs" in words(ranks)
    assert "info_nce is best on" in words(slices)
    assert len(error_lists.listed(workspace, replace(of, bucket="only A"))) == 0
    _, numbers, _ = error_views.show_hubs(workspace, of)
    assert [row["name"] for row in numbers["rows"]] == ["info_nce"]
    row = error_views.show_list(workspace, of, 0)[0]["rows"][0]
    assert [top["who"] for top in row["tops"]] == ["A"] and row["badges"][0]["text"] == "wrong"


def test_hubs_count_the_lists_that_hold_an_item(workspace):
    drawn, numbers, listed = error_views.show_hubs(workspace, asked())
    counts = {run: np.zeros(60, int) for run in RUNS}
    for run in RUNS:
        for line in top(workspace, run, "test", "t2v"):
            counts[run][line] += 1
    rows = {row["name"]: row["cells"] for row in numbers["rows"]}
    for run in RUNS:
        assert rows[run][1] == str(counts[run].max())
        gap = np.linalg.norm(np.subtract(*(side.mean(0) for side in workspace.embeddings(run))))
        assert rows[run][5] == f"{gap:.3f}"
    assert "strongest hubs" in words(drawn)
    largest = np.max(list(counts.values()), 0)
    shown = [row["index"] for row in listed["rows"]]
    assert largest[shown].tolist() == sorted(largest.tolist(), reverse=True)[: len(shown)]
    for row in listed["rows"]:
        assert {one["run"]: one["value"] for one in row["numbers"]} == {
            run: str(counts[run][row["index"]]) for run in RUNS
        }
    assert len(drawn) < 100_000


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
    counts = error_views.show_charts(bad, of)[3]
    place = next(at for at, name in enumerate(head) if name.startswith("bucket at 1"))
    for bucket in ("all right", "only A", "only B", "all wrong"):
        assert sum(line[place] == bucket for line in body) == counts[bucket]


def test_the_latex_table_has_the_slices_and_escapes_names(workspace):
    text = error_charts.as_latex(workspace, asked(slicing="colour", k=5))
    lines = text.splitlines()
    assert lines[1:3] == [r"\begin{tabular}{lrrrr}", r"\toprule"] and lines[-1] == r"\end{tabular}"
    assert r"info\_nce" in lines[3] and "_nce" not in text.replace(r"\_nce", "")
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
    assert error_charts._tex("50% of a_b & {c}\n\\input{x}") == (
        r"50\% of a\_b \& \{c\} \textbackslash{}input\{x\}"
    )


@pytest.mark.parametrize("make", [make_clips, make_pictures, make_classes])
@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_clips_pictures_and_classes_are_examined_too(tmp_path, cache_folder, make, direction):
    other = make_other(tmp_path, make, {"siglip": "cross_attention"})
    of = error_views.read(
        other, "test", direction, RUNS, "info_nce", "", "siglip", 1, "all", "", "", "", "differ", 0
    )
    data = other.dataset()
    drawn = error_views.show_charts(other, of)
    assert all(json.loads(one)["figure"] for one in drawn[:3])
    assert (error_lists.HIDDEN in drawn[3]) == (data.truth is not None)
    value = error_views.show_list(other, of, 0)[0]
    assert len(value["rows"]) == 12
    first = value["rows"][0]
    assert (first["film"] is not None) == (make is make_clips and direction == "v2t")
    if make is make_pictures:
        assert first["image"] and all(one["image"] for one in first["tops"])
    if make is make_classes:
        assert first["text"].split(" · ")[0] in data.classes
        assert {one["status"] for row in value["rows"] for one in row["tops"]} <= {
            "same class",
            "another class",
        }
    _, numbers, listed = error_views.show_hubs(other, of)
    scored = next(row for row in numbers["rows"] if row["name"] == "siglip")
    assert scored["cells"][-4:] == ["–"] * 4 and "siglip scores pairs" in numbers["note"]
    assert listed["rows"]
    assert error_rows.as_csv(other, of).count("\r\n") == 1 + len(other.ranks("siglip", "test", direction))


def test_no_run_and_a_split_that_cannot_be_embedded_have_words(workspace, tmp_path):
    nobody = read(workspace, runs=[], baseline="")
    bar, _, _, counts = error_views.show_charts(workspace, nobody)
    assert "pick one as A" in words(bar) and counts == {}
    assert "pick one as A" in error_views.show_list(workspace, nobody, 0)[0]["empty"]
    assert "pick one as A" in words(error_views.show_hubs(workspace, nobody)[0])
    broken = make_workspace(tmp_path)

    def fail(run, dataset):
        raise OSError("the encoder's folder is missing")

    broken.embedder.embed_dataset = fail
    of = asked(split="validation")
    bar, _, _, counts = error_views.show_charts(broken, of)
    assert "encoder's folder is missing" in words(bar) and counts == {}
    assert "encoder's folder is missing" in error_views.show_list(broken, of, 0)[0]["empty"]
    drawn, numbers, _ = error_views.show_hubs(broken, of)
    assert "encoder's folder is missing" in words(drawn) and numbers["rows"] == []


# ---- journeys --------------------------------------------------------------------------------------------


def open_errors(page, address, query="?v=1&tab=errors"):
    page.goto(address + query)
    page.wait_for_selector("#errors-list li")
    for chart in ("errors-slices", "errors-ranks", "errors-buckets"):
        see_chart(page, chart)


def pick(page, elem_id, name):
    page.locator(f"#{elem_id} input").click()
    page.get_by_role("option", name=name).first.click()


def test_clicks_on_charts_list_their_queries(page, app_url, workspace):
    open_errors(page, app_url)
    of = Asked("test", "t2v", "max_of_hinges", "info_nce", ("siglip",), 1, slicing="words in a caption")
    said, where = page.locator("#errors-listed"), page.locator("#errors-where")
    expect(page.locator("#errors-about")).to_contain_text("A is max_of_hinges, B is info_nce")
    expect(where).to_have_text("1–12 of 120")
    *_, counts = error_views.show_charts(workspace, of)
    both = 100 * counts["all right"] / 120
    click_in(page, "errors-buckets", both + 100 * counts["only A"] / 240, 0)
    expect(said).to_contain_text(f"Listed: only A, {counts['only A']}.")
    expect(page.locator("#errors-bucket input:checked")).to_have_value("only A")
    expect(page.locator("#errors-list .badge.bucket").first).to_have_text("only A right")
    # A slice narrows it, Clear brings all back.
    slices = see_chart(page, "errors-slices")
    drawn = int(slices.get_attribute("data-drawn"))
    pick(page, "errors-slicing", "colour")
    expect(page.locator("#errors-slices figcaption")).to_contain_text("By colour")
    means, _ = error_charts.means(workspace, replace(of, slicing="colour"))
    first = means[of.a][0]
    page.wait_for_function(
        """(drawn) => { const plot = document.querySelector('#errors-slices .plot');
        return plot.layout.yaxis.ticktext?.length === 5 && Number(plot.dataset.drawn) > drawn; }""",
        arg=drawn,
    )
    y = slices.evaluate("(plot) => plot.calcdata[0][0].y")
    click_in(page, "errors-slices", 100 * first.mean, y)
    count = len(
        error_lists.listed(workspace, replace(of, slicing="colour", slice=first.name, bucket="only A"))
    )
    expect(said).to_contain_text(f"only A · colour: {first.name}, {count}.")
    page.locator("#errors-clear").click()
    expect(where).to_have_text("1–12 of 120")
    # The keyboard chooses a cell: ranks 1 and 1.
    page.locator("#errors-ranks .plot").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    count = len(error_lists.listed(workspace, replace(of, cell=(1, 1))))
    expect(said).to_contain_text(f"rank 1 under A and rank 1 under B, {count}.")
    # Another sample is another order, and the way back is the seed.
    page.locator("#errors-clear").click()
    expect(where).to_have_text("1–12 of 120")
    page.locator("#errors-another").click()
    expect(page.locator("#errors-order input")).to_have_value("random")
    drawn = error_lists.listed(workspace, replace(of, order="random", seed=0))
    first = page.locator("#errors-list .name").first
    expect(first).to_have_text(workspace.item_id("test", "v2t", int(drawn[0])))
    page.locator("#errors-another").click()
    expect(page.locator("#errors-seed input")).to_have_value("1")
    drawn = error_lists.listed(workspace, replace(of, order="random", seed=1))
    expect(first).to_have_text(workspace.item_id("test", "v2t", int(drawn[0])))
    page.locator("#errors-next").click()
    expect(where).to_have_text("13–24 of 120")
    expect(first).to_have_text(workspace.item_id("test", "v2t", int(drawn[12])))


def test_what_was_done_last_is_listed_however_late_an_earlier_answer_is(
    page, app_url, workspace, monkeypatch
):
    open_errors(page, app_url, "?v=1&tab=errors&bucket=only+A&slicing=colour&slice=red")
    said, where = page.locator("#errors-listed"), page.locator("#errors-where")
    expect(said).to_contain_text("only A · colour: red")
    real, late = errors.show_list, [1.5]

    def slow(*values):
        time.sleep(late.pop() if late else 0)
        return real(*values)

    monkeypatch.setattr(errors, "show_list", slow)
    page.locator("#errors-clear").click()
    page.locator("#errors-another").click()
    page.locator("#errors-another").click()
    of = Asked("test", "t2v", "max_of_hinges", "info_nce", ("siglip",), 1, order="random", seed=1)
    drawn = [workspace.item_id("test", "v2t", int(query)) for query in error_lists.listed(workspace, of)]
    first = page.locator("#errors-list .name").first
    expect(first).to_have_text(drawn[0])
    expect(where).to_have_text("1–12 of 120")
    page.wait_for_timeout(2000)  # longer than the answer that was late
    expect(first).to_have_text(drawn[0])
    expect(page.locator("#errors-seed input")).to_have_value("1")
    expect(page.locator("#errors-bucket input:checked")).to_have_value("all")
    # Turned twice, it is two pages on; another filter starts at its first page.
    late.append(1)
    page.locator("#errors-next").click()
    page.locator("#errors-next").click()
    expect(where).to_have_text("25–36 of 120")
    expect(first).to_have_text(drawn[24])
    pick(page, "errors-slice", "red")
    expect(where).to_contain_text("1–12 of")
    pick(page, "errors-slicing", "shape")  # whose slices are others
    expect(said).to_contain_text("all queries, 120.")
    expect(page.locator("#errors-slice input")).to_have_value("all")
    # What is chosen while charts are on their way stays chosen.
    late.append(1)
    page.locator("#errors-at").get_by_label("5", exact=True).check()
    page.locator("#errors-bucket").get_by_label("only B").check()
    expect(said).to_contain_text("Listed: only B,")
    page.wait_for_timeout(1500)
    expect(said).to_contain_text("Listed: only B,")
    # But not what is no choice any more: of one run there is no B.
    page.locator("#errors-bucket").get_by_label("all", exact=False).first.check()
    expect(said).to_contain_text("all queries")
    untick(page, "info_nce")
    expect(page.locator("#errors-about")).to_contain_text("B is siglip")
    late.append(1.5)
    untick(page, "siglip")
    page.locator("#errors-bucket").get_by_label("only B").click()
    expect(page.locator("#errors-about")).to_contain_text("there is no B")
    page.locator("#errors-another").click()
    expect(page.locator("#errors-seed input")).to_have_value("2")
    expect(said).to_contain_text("all queries, 120.")


def test_a_link_brings_the_same_list_back_and_captions_stay_text(page, app_url, workspace):
    query = "?v=1&tab=errors&a=siglip&b=info_nce&at=5&bucket=all+wrong&slicing=shape&slice=ring&order=b"
    open_errors(page, app_url, query)
    of = Asked("test", "t2v", "siglip", "info_nce", (), 5, "all wrong", "shape", "ring", None, "b")
    count = len(error_lists.listed(workspace, of))
    said = page.locator("#errors-listed")
    expect(said).to_contain_text(f"all wrong · shape: ring, {count}.")
    expect(page.locator("#errors-a input")).to_have_value("siglip")
    expect(page.locator("#errors-at input:checked")).to_have_value("5")
    for part in query.removeprefix("?").split("&"):
        page.wait_for_function("part => location.search.includes(part)", arg=part)
    # A wrong value is told, and the rest is shown.
    open_errors(page, app_url, "?v=1&tab=errors&a=siglop&slicing=colour&slice=rad&bucket=only+B")
    expect(page.get_by_text("did you mean 'siglip'")).to_be_visible()
    expect(page.get_by_text("did you mean 'red'")).to_be_visible()
    expect(said).to_contain_text("Listed: only B,")
    # The fourth picture's second caption is markup: a seed that draws it early shows it letter by letter.
    of = Asked("test", "t2v", "max_of_hinges", "info_nce", (), 1, order="random")
    seed = next(s for s in range(500) if 7 in error_lists.listed(workspace, replace(of, seed=s))[:12])
    open_errors(page, app_url, f"?v=1&tab=errors&order=random&draw={seed}")
    row = page.locator("#errors-list li", has_text="test-003#1").first
    expect(row).to_contain_text(MARKUP)
    assert row.locator("script, img[src=x]").count() == 0


def test_the_keyboard_opens_a_query_in_search(page, app_url, workspace):
    open_errors(page, app_url, "?v=1&tab=errors&bucket=only+A&order=a")
    of = Asked("test", "t2v", "max_of_hinges", "info_nce", (), 1, "only A", order="a")
    query = int(error_lists.listed(workspace, of)[0])
    caption = workspace.dataset().captions[query]
    page.locator("#errors-clear").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#errors-list li button").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Search")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#results .query")).to_contain_text(caption)
    expect(page.locator("#query input, #query textarea").first).to_have_value(caption)


def test_the_list_and_the_slices_are_downloaded(page, app_url, workspace):
    open_errors(page, app_url, "?v=1&tab=errors&bucket=only+B&slicing=colour")
    of = Asked("test", "t2v", "max_of_hinges", "info_nce", ("siglip",), 1, "only B", "colour")
    with page.expect_download() as found:
        page.locator("#errors-csv").click()
    assert found.value.suggested_filename == "errors.csv"
    text = Path(found.value.path()).read_bytes().decode()
    assert text == error_rows.as_csv(workspace, of)
    with page.expect_download() as found:
        page.locator("#errors-latex").click()
    assert Path(found.value.path()).read_text("utf-8") == error_charts.as_latex(workspace, of)


def test_one_run_alone_is_said_and_its_list_shown(page, app_url):
    page.goto(f"{app_url}?v=1&tab=errors&runs=info_nce&bucket=only+A")
    expect(page.locator("#errors-about")).to_contain_text("A is info_nce, and there is no B")
    expect(page.locator("#errors-ranks figcaption")).to_contain_text("need two runs")
    expect(page.get_by_text("No query is in “only A”")).to_be_visible()
    expect(page.locator("#errors-where")).to_have_text("1–12 of 120")
    untick(page, "info_nce")
    expect(page.locator("#errors-buckets figcaption")).to_contain_text("pick one as A")
    expect(page.locator("#errors-list")).to_contain_text("pick one as A")
    pick(page, "errors-a", "siglip")
    expect(page.locator("#errors-about")).to_contain_text("A is siglip")
