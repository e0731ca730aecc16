"""The results tab: its values as functions, then journeys in a browser."""

import csv
import io
import json
from dataclasses import replace
from urllib.parse import parse_qs, urlparse

import gradio as gr
import pytest
from playwright.sync_api import expect

from tests.charts import see_chart
from tests.fake_workspace import (
    MARKUP,
    RUNS,
    make_classes,
    make_clips,
    make_many,
    make_other,
    make_pictures,
    make_workspace,
)
from tests.run_chooser import untick
from xmr.ui.components.number_table import table
from xmr.ui.tabs import results
from xmr.workspace.result_words import MEANS
from xmr.workspace.results import estimates

NAMES = list(RUNS)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def many(tmp_path_factory, cache_folder):
    return make_many(tmp_path_factory.mktemp("many"))


def show(
    workspace, runs=NAMES, split="test", direction="t2v", baseline="info_nce", which="chosen", sort="", **more
):
    """The outputs of the tab by name."""
    names = (
        "first",
        "first_differences",
        "second",
        "second_differences",
        "told",
        "scores",
        "losses",
        "data",
        "runs",
        "pending",
        "awaited",
    )
    found = results.show(workspace, split, direction, runs, baseline, which, sort, **more)
    return dict(zip(names, found, strict=True))


def names_of(shown):
    return [row["name"] for row in shown["rows"]]


# ---- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_both_directions_are_shown_the_chosen_one_first(workspace, direction):
    shown = show(workspace, direction=direction, baseline="siglip")
    titles = {"t2v": "Metrics, text → image", "v2t": "Metrics, image → text"}
    assert shown["first"]["title"] == titles[direction]
    assert {shown["first"]["title"], shown["second"]["title"]} == {*titles.values()}
    assert names_of(shown["first"]) == ["siglip", "info_nce", "max_of_hinges"]
    assert shown["first"]["rows"][0]["mark"] == "baseline"
    assert shown["first_differences"]["title"].startswith("Differences to siglip")
    assert names_of(shown["first_differences"]) == ["info_nce", "max_of_hinges"]
    expected = estimates(workspace, "info_nce", "test", direction)["R@1"]
    cell = shown["first"]["rows"][1]["cells"][0]
    assert cell == {
        "text": f"{100 * expected.mean:.1f}",
        "more": f"{100 * expected.low:.1f} – {100 * expected.high:.1f}",
        "number": round(expected.mean, 6),
    }
    assert [column["text"] for column in shown["first"]["columns"]] == [
        "run", "R@1", "R@5", "R@10", "true R@1", "true mAP@R", "median rank", "rsum"
    ]  # fmt: skip
    assert "60 images and 120 captions" in shown["told"]
    assert json.loads(shown["scores"])["figure"]["data"]
    assert json.loads(shown["losses"])["table"]["rows"][0] == ["1", "100.0", "100.0", "100.0"]
    assert names_of(shown["runs"]) == names_of(shown["first"])


def test_all_runs_follow_the_chosen_ones_and_fit_in_an_event(many):
    shown = show(many, ["siglip", "hybrid"], baseline="hybrid", which="all")
    names = names_of(shown["first"])
    assert names[:2] == ["hybrid", "siglip"]
    assert names[2:] == [name for name in many.runs if name not in ("hybrid", "siglip")]
    marks = {row["name"]: row["mark"] for row in shown["first"]["rows"]}
    assert (marks["hybrid"], marks["siglip"], marks["info_nce"]) == ("baseline", "chosen", "")
    assert f"of {len(many.runs)} runs by R@1" in shown["first"]["lead"]
    assert len(json.dumps(list(shown.values()))) < 300_000
    assert shown["pending"] == 0
    assert "siglip" in json.loads(shown["scores"])["words"]
    assert "hybrid" not in json.loads(shown["scores"])["words"]  # a combination has no training
    alone = show(many, ["hybrid"], baseline="hybrid")
    assert "no training of their own" in json.loads(alone["scores"])["words"]
    assert alone["first_differences"]["rows"] == []
    nobody = show(many, [], baseline="", which="all")
    assert len(nobody["first"]["rows"]) == len(many.runs)


def test_what_is_not_measured_yet_follows(tmp_path, cache_folder):
    many = make_many(tmp_path)
    left = len(many.runs)
    for _ in range(3):
        shown = show(many, ["siglip"], baseline="siglip", which="all", seconds=-1)
        left -= 1
        assert shown["pending"] == left
        assert len(shown["first"]["rows"]) == len(shown["second"]["rows"]) == len(many.runs) - left
        assert f"{len(many.runs) - left} of {len(many.runs)} runs are measured" in shown["first"]["lead"]


def test_no_run_and_runs_that_can_not_be_measured_have_words(tmp_path, cache_folder):
    shown = show(make_workspace(tmp_path), [])
    assert "tick one" in shown["first"]["lead"]
    assert shown["first"]["rows"] == shown["second"]["rows"] == []
    broken = make_workspace(tmp_path)

    def embed(run, dataset, plain=broken.embedder.embed_dataset):
        if run.name != "siglip":
            raise OSError("the <encoder> is missing")
        return plain(run, dataset)

    broken.embedder.embed_dataset = embed
    shown = show(broken, split="validation", baseline="siglip")
    assert names_of(shown["first"]) == ["siglip"]
    assert (
        "<b>info_nce, max_of_hinges</b> can&#x27;t be measured on validation: the &lt;encoder&gt; is missing"
        in shown["told"]
    )
    shown = show(broken, ["info_nce"], split="validation")
    assert shown["first"]["lead"] == "None of these runs could be measured."
    broken.load = lambda split: (_ for _ in ()).throw(OSError("the disk is gone"))
    broken._memo._values.clear()
    assert "the disk is gone" in show(broken, split="train")["first"]["lead"]


def test_runs_that_are_apart_or_differ_are_told(tmp_path, cache_folder):
    workspace = make_workspace(tmp_path)
    run = workspace.runs["siglip"]
    workspace.apart["<b>other</b>"] = (replace(run, name="<b>other</b>"), "trained on 'clips'")
    workspace.runs["siglip"] = replace(run, encoder={"name": "shapes", "hash": "abc"})
    told = show(workspace)["told"]
    assert "<b>&lt;b&gt;other&lt;/b&gt;</b> not compared: trained on &#x27;clips&#x27;" in told
    assert "different encoders" in told
    assert "different" not in show(workspace, ["info_nce", "max_of_hinges"])["told"]


@pytest.mark.parametrize("make", [make_clips, make_pictures, make_classes])
def test_other_kinds_of_data_have_their_metrics_and_words(make, tmp_path, cache_folder):
    workspace = make_other(tmp_path, make, {"siglip": "cross_attention"})
    shown = show(workspace)
    columns = [column["text"] for column in shown["first"]["columns"]]
    assert ("mAP" in columns, "mAP, both" in columns, "rsum" in columns) == (
        (True, True, False) if make is make_classes else (False, False, True)
    )
    ways = {make_clips: "text → clip", make_pictures: "gallery → query", make_classes: "text → image"}
    assert shown["first"]["title"] == f"Metrics, {ways[make]}"
    assert all(len(row["cells"]) == len(columns) - 1 for row in shown["first"]["rows"])
    assert "first stage" in json.dumps(shown["runs"])


def test_what_a_browser_names_is_checked(workspace):
    assert results.picked_run(workspace, {"row": "siglip"}) == "siglip"
    for data in ({"row": "nobody"}, {"row": ["siglip"]}, {}, None, "siglip"):
        with pytest.raises(gr.Error, match="not in this workspace"):
            results.picked_run(workspace, data)
    assert results.sort_text({"column": "R@5", "descending": False}) == "R@5:up"
    assert results.sort_text({"column": "R@5", "descending": True}) == "R@5:down"
    for data in (
        {"column": "<b>", "descending": True},
        {"column": "", "descending": True},
        {"column": ["R@1"]},
        None,
        3,
    ):
        assert results.sort_text(data) == ""
    assert show(workspace, sort="R@5:up")["first"]["sort"] == {"column": "R@5", "descending": False}
    assert show(workspace, sort="nonsense")["first"]["sort"]["column"] == ""
    assert all(f"{title}:up" in results.SORTS for title in MEANS)


def test_a_table_of_plain_cells_is_as_it_was():
    value = table([("run", ""), ("AUC", "area")], [("a", None, ["0.5"])], "a note")
    assert value["rows"][0]["cells"] == ["0.5"]
    assert (value["note"], value["sortable"], value["pick"], value["files"]) == ("a note", False, "", [])
    number = table([("run", ""), ("x", "")], [("a", None, [("–", "", float("nan"))])])
    assert json.loads(json.dumps(number, allow_nan=False))["rows"][0]["cells"][0]["number"] is None


# ---- in a browser ----------------------------------------------------------------------------------------


def open_results(page, url, query=""):
    page.goto(f"{url}?v=1&tab=results{query}")
    rows = page.locator("#results-first tbody tr")
    expect(rows.first).to_be_visible()
    return rows


def column(page, at, part="first"):
    """The numbers of a column as they are shown."""
    cells = page.locator(f"#results-{part} tbody tr td:nth-of-type({at})")
    return cells.evaluate_all(
        "cells => cells.map((cell) => Number(cell.firstChild.textContent.replace('−', '-')))"
    )


def test_columns_sort_by_keyboard_and_links_keep_it(page, app_url):
    rows = open_results(page, app_url)
    expect(rows).to_have_count(3)
    heads = page.locator("#results-first thead th")
    first = heads.filter(has_text="R@10")
    expect(first).to_have_attribute("aria-sort", "none")
    first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-sort", "descending")
    expect(first.get_by_role("button")).to_be_focused()
    numbers = column(page, 3)
    assert numbers == sorted(numbers, reverse=True)
    # The other tables follow, and the address keeps it.
    expect(page.locator("#results-second thead th").filter(has_text="R@10")).to_have_attribute(
        "aria-sort", "descending"
    )
    page.wait_for_url(lambda url: parse_qs(urlparse(url).query).get("sort") == ["R@10:down"])
    page.wait_for_timeout(1000)  # the server's answer draws the table again
    expect(first.get_by_role("button")).to_be_focused()
    first.get_by_role("button").press("Enter")
    expect(first).to_have_attribute("aria-sort", "ascending")
    numbers = column(page, 3)
    assert numbers == sorted(numbers)
    page.wait_for_url(lambda url: parse_qs(urlparse(url).query).get("sort") == ["R@10:up"])
    address = page.url
    first.get_by_role("button").press("Enter")
    expect(first).to_have_attribute("aria-sort", "none")
    expect(rows.first).to_contain_text("baseline")
    page.goto("about:blank")
    page.goto(address)
    expect(heads.filter(has_text="R@10")).to_have_attribute("aria-sort", "ascending")
    assert column(page, 3) == numbers


def test_baseline_runs_and_direction_change_the_tables(page, app_url):
    rows = open_results(page, app_url)
    expect(page.locator("#results-first h3")).to_have_text("Metrics, text → image")
    page.locator("#direction").get_by_label("image → text").check()
    expect(page.locator("#results-first h3")).to_have_text("Metrics, image → text")
    page.locator("#baseline input").click()
    page.get_by_role("option", name="siglip", exact=True).click()
    expect(page.locator("#results-first-differences h3")).to_have_text("Differences to siglip, image → text")
    expect(rows.first).to_contain_text("siglip")
    expect(page.locator("#results-first .lead")).to_contain_text("best of 3 runs")
    untick(page, "info_nce")
    expect(rows).to_have_count(2)
    page.locator("#results-which").get_by_label("all 3 runs").check()
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("info_nce")
    expect(rows.nth(1)).to_contain_text("chosen")
    page.wait_for_url(lambda url: parse_qs(urlparse(url).query).get("which") == ["all"])
    assert page.locator("#results-scores .plot[data-drawn]").count() == 0, "nobody has seen it yet"
    see_chart(page, "results-scores")
    expect(page.locator("#results-scores figcaption")).to_contain_text("epoch 2")
    expect(page.locator("#results-data")).to_contain_text("60 images and 120 captions")
    expect(page.locator("#results-runs tbody tr")).to_have_count(3)


def test_tables_are_saved_as_files(page, app_url, workspace):
    open_results(page, app_url)
    with page.expect_download() as saved:
        page.locator("#results-second").get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "shapes-test-v2t.csv"
    lines = list(csv.DictReader(io.StringIO(saved.value.path().read_text(encoding="utf-8"))))
    (line,) = [line for line in lines if (line["run"], line["metric"]) == ("siglip", "R@1")]
    expected = estimates(workspace, "siglip", "test", "v2t")["R@1"]
    assert float(line["mean"]) == pytest.approx(100 * expected.mean, abs=1e-3)
    with page.expect_download() as saved:
        page.locator("#results-first").get_by_role("button", name="LaTeX").click()
    assert saved.value.suggested_filename == "shapes-test-t2v.tex"
    assert r"\toprule" in saved.value.path().read_text(encoding="utf-8")


def test_a_runs_name_opens_it_in_errors(page, app_url):
    open_results(page, app_url)
    page.locator("#results-first").get_by_role("button", name="max_of_hinges").press("Enter")
    expect(page.get_by_role("tab", name="Errors")).to_have_attribute("aria-selected", "true")
    page.wait_for_url(lambda url: parse_qs(urlparse(url).query).get("b") == ["max_of_hinges"])


def test_many_runs_with_hostile_names_fit_a_phone(page, serve, tmp_path, cache_folder):
    many = make_many(tmp_path)
    many.runs[MARKUP] = replace(many.runs["siglip"], name=MARKUP)
    with serve(many) as url:
        page.set_viewport_size({"width": 390, "height": 844})
        rows = open_results(page, url, "&which=all")
        expect(rows).to_have_count(len(many.runs))
        expect(page.locator("#results-first").get_by_role("button", name=MARKUP)).to_be_visible()
        assert page.locator("#results-first b, #results-first script, #results-runs img").count() == 0
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        # The names stay in sight while the numbers are scrolled, and leave room for them.
        name = page.locator("#results-first tbody th").filter(has_text=MARKUP)
        page.locator("#results-first .scroll").evaluate("scroll => scroll.scrollTo(300, 0)")
        box = name.bounding_box()
        assert box["x"] >= 0
        assert box["width"] < 200
        see_chart(page, "results-losses")
