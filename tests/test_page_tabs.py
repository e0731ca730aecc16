"""Journeys through Results, Distributions, Loss weights and Errors in a browser, over the fake workspace."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from playwright.sync_api import expect

from tests.fake_workspace import MARKUP, make_many
from tests.journeys import click_in, opened, rest, see_chart, state_of
from xmr.views import error_charts, error_lists
from xmr.views.error_lists import Asked
from xmr.views.error_rows import as_csv

OF = Asked("test", "t2v", "max_of_hinges", "info_nce", ("siglip",), 1)


def tells(page, key, value):
    """Waits until the address has the value."""
    page.wait_for_function(
        "([key, value]) => new URLSearchParams(location.search).get(key) === value", arg=[key, value]
    )


# ---- results -----------------------------------------------------------------------------------------------------


def column(page, at):
    """The numbers of a column as they are shown."""
    cells = page.locator(f"#results-first tbody tr td:nth-of-type({at})")
    return cells.evaluate_all(
        "cells => cells.map((cell) => Number(cell.firstChild.textContent.replace('−', '-')))"
    )


def test_columns_sort_by_keyboard_and_links_keep_it(page, url):
    opened(page, url, "results")
    head = page.locator("#results-first thead th").filter(has_text="R@10")
    head.get_by_role("button").focus()
    for way, text in (("descending", "R@10:down"), ("ascending", "R@10:up")):
        page.keyboard.press("Enter")
        expect(head).to_have_attribute("aria-sort", way)
        tells(page, "sort", text)
        rest(page)  # the server's answer draws the table again
        expect(head.get_by_role("button")).to_be_focused()
        assert column(page, 3) == sorted(column(page, 3), reverse=way == "descending")
        # The other tables follow.
        other = page.locator("#results-second thead th").filter(has_text="R@10")
        expect(other).to_have_attribute("aria-sort", way)
    page.reload()
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.get_by_role("button").press("Enter")
    expect(page.locator("#results-first tbody tr").first).to_contain_text("baseline")


def test_baseline_runs_and_direction_change_the_tables_and_files(page, url):
    opened(page, url, "results")
    rows = page.locator("#results-first tbody tr")
    page.locator("#direction").get_by_label("image → text").check()
    expect(page.locator("#results-first h3")).to_have_text("Metrics, image → text")
    page.select_option("#baseline select", "siglip")
    expect(page.locator("#results-first-differences h3")).to_have_text("Differences to siglip, image → text")
    page.get_by_role("button", name="Take out info_nce").click()
    expect(rows).to_have_count(2)
    page.get_by_label("all 3 runs").check()
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("info_nce")
    with page.expect_download() as saved:
        page.locator("#results-first").get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "shapes-test-v2t.csv"
    assert "info_nce" in saved.value.path().read_text(encoding="utf-8")
    see_chart(page, "results-scores")
    expect(page.locator("#results-scores figcaption")).to_contain_text("epoch 2")


def test_the_forest_follows_its_measure_and_a_point_opens_errors(page, url):
    opened(page, url, "results")
    page.select_option("#results-measure select", "true R@1")
    expect(page.locator("#results-forest figcaption")).to_contain_text("Sorted by true R@1, text → image")
    tells(page, "measure", "true R@1")
    page.get_by_label("text → image only").check()
    expect(page.locator("#results-second")).to_have_count(0)
    plot = see_chart(page, "results-forest")
    assert plot.bounding_box()["width"] > 1000  # of 1400, beside the sidebar
    plot.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#tab-errors")).to_have_attribute("aria-selected", "true")


def test_many_runs_with_hostile_names_fit_a_phone(page, serve, tmp_path, cache_folder):
    many = make_many(tmp_path)
    many.runs[MARKUP] = replace(many.runs["siglip"], name=MARKUP)
    with serve(many) as url:
        page.set_viewport_size({"width": 390, "height": 844})
        opened(page, url, "results", which="all")
        expect(page.locator("#results-first tbody tr")).to_have_count(len(many.runs))
        expect(page.locator("#results-first").get_by_role("button", name=MARKUP)).to_be_visible()
        assert page.locator("#results-first b, #results-first script, #results-runs img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        # The names stay in sight while the numbers are scrolled, and leave room for them.
        page.locator("#results-first .scroll").evaluate("scroll => scroll.scrollTo(300, 0)")
        box = page.locator("#results-first tbody th").filter(has_text=MARKUP).bounding_box()
        assert box["x"] >= 0 and box["width"] < 200


# ---- distributions -------------------------------------------------------------------------------------------------


def test_a_zoom_outlives_other_runs_but_not_another_scale(page, url):
    opened(page, url, "distributions")
    see_chart(page, "distributions-chart")
    node = page.evaluate_handle("document.querySelector('#distributions-chart .plot')")
    page.evaluate("plot => Plotly.relayout(plot, {'xaxis.range[0]': 0.25, 'xaxis.range[1]': 0.75})", node)
    page.get_by_role("button", name="Take out siglip").click()
    expect(page.locator("#distributions-table tbody tr")).to_have_count(2)
    page.wait_for_function(
        "plot => plot.layout.meta && !plot.data.some((one) => one.meta?.run === 'siglip')", arg=node
    )
    assert page.evaluate("plot => plot.layout.xaxis.range", node) == [0.25, 0.75]
    page.get_by_label("z-scores").check()
    page.wait_for_function("plot => plot.layout.xaxis.range[0] !== 0.25", arg=node)
    for name in ("info_nce", "max_of_hinges"):
        page.get_by_role("button", name=f"Take out {name}").click()
    expect(page.locator("#distributions-chart figcaption")).to_contain_text("No run is chosen")
    expect(page.locator("#distributions-chart .plot")).to_be_hidden()


# ---- loss weights --------------------------------------------------------------------------------------------------


def test_a_cell_shows_its_pair_in_both_losses(page, url):
    opened(page, url, "weights", loss="run%20info_nce", batch=8)
    pair = page.locator("#weights-pair")
    expect(pair).to_contain_text("Click a cell")
    click_in(page, "weights-matrix", 5, 5)
    expect(pair.locator(".name")).to_have_text("image 5, caption 5")
    expect(pair.locator("article")).to_contain_text("annotated match")
    expect(pair).to_be_in_viewport()
    expect(page.locator(".busy .sr")).to_contain_text("Shown: image 5, caption 5")
    shown = pair.locator("dd").nth(1).inner_text()
    page.locator("#weights-temperature").get_by_role("spinbutton").fill("0.5")
    page.keyboard.press("Enter")
    expect(pair.locator("dd").nth(1)).not_to_have_text(shown)
    # The keyboard reaches the neighbour.
    rest(page)
    page.locator("#weights-matrix .plot").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(pair.locator(".name")).to_have_text("image 5, caption 6")
    # A second loss: both on the same batch, their difference, and the pair in both.
    page.select_option("#weights-other select", label="max_of_hinges (as trained)")
    see_chart(page, "weights-difference")
    top = "id => { const plot = document.querySelector(`#${id} .plot`); return plot.getBoundingClientRect().y + plot._fullLayout._size.t; }"
    tops = [page.evaluate(top, one) for one in ("weights-matrix", "weights-matrix-b", "weights-difference")]
    assert max(tops) - min(tops) < 2, "the matrices stand in one line"
    click_in(page, "weights-difference", 7, 3)
    expect(pair.locator(".name")).to_have_text("image 3, caption 7")
    expect(pair.locator("dt", has_text="score")).to_have_text(["info_nce: score", "max_of_hinges: score"])
    frame = "id => document.querySelector(`#${id} .plot`).layout.shapes.map((one) => [one.x0, one.y0])"
    for heat in ("weights-matrix", "weights-matrix-b", "weights-difference"):
        assert page.evaluate(frame, heat) == [[6.5, 2.5]]
    page.click("#weights-another")
    expect(pair).to_contain_text("Click a cell")
    page.select_option("#weights-other select", label="nothing")
    expect(page.locator("#weights-difference")).to_have_count(0)
    ink = "document.querySelector('#weights-matrix .plot')._fullLayout?.font.color"
    page.wait_for_function(f"Boolean({ink})")
    light = page.evaluate(ink)
    page.evaluate("document.body.classList.toggle('dark')")
    page.wait_for_function(f"{ink} && {ink} !== '{light}'")


def test_a_point_of_a_curve_finds_a_pair_by_keyboard_and_the_way_is_in_the_link(page, url):
    opened(page, url, "weights", loss="run%20siglip", axis="own")
    expect(page.get_by_label("by the share of own negatives above")).to_be_checked()
    see_chart(page, "weights-curve").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#weights-pair article")).to_be_in_viewport()
    found = page.locator("#weights-pair .name").inner_text()
    page.reload()
    expect(page.locator("#weights-pair .name")).to_have_text(found)
    # The two curves stand beside each other.
    boxes = [page.locator(f"#weights-{one}").bounding_box() for one in ("curve", "comparison")]
    assert abs(boxes[0]["y"] - boxes[1]["y"]) < 2 and min(box["width"] for box in boxes) > 480


# ---- errors --------------------------------------------------------------------------------------------------------


def test_clicks_on_charts_list_their_queries_in_sight(page, url, workspace):
    opened(page, url, "errors", slicing="colour")
    said, where = page.locator("#errors-listed"), page.locator("#errors-where")
    _, counts = error_charts.bucket_chart(workspace, OF)
    click_in(page, "errors-buckets", 100 * (counts["all right"] + counts["only A"] / 2) / 120, 0)
    expect(said).to_have_text(f"Listed: only A, {counts['only A']}.")
    expect(said).to_be_in_viewport()
    expect(page.locator("#errors-list .badge.bucket").first).to_have_text("only A right")
    # A slice narrows it, Clear brings all back.
    first = error_charts.means(workspace, replace(OF, slicing="colour"))[0][OF.a][0]
    y = see_chart(page, "errors-slices").evaluate("(plot) => plot.calcdata[0][0].y")
    click_in(page, "errors-slices", 100 * first.mean, y)
    both = replace(OF, slicing="colour", slice=first.name, bucket="only A")
    expect(said).to_contain_text(
        f"only A · colour: {first.name}, {len(error_lists.listed(workspace, both))}."
    )
    page.click("#errors-clear")
    expect(where).to_have_text("1–12 of 120")
    # The keyboard chooses a cell: ranks 1 and 1.
    see_chart(page, "errors-ranks").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    count = len(error_lists.listed(workspace, replace(OF, cell=(1, 1))))
    expect(said).to_contain_text(f"rank 1 under A and rank 1 under B, {count}.")
    page.go_back()
    expect(where).to_have_text("1–12 of 120")


def test_samples_and_pages_and_the_way_to_search(page, url, workspace):
    opened(page, url, "errors")
    where, first = page.locator("#errors-where"), page.locator("#errors-list .name").first
    for seed in (0, 1):
        page.click("#errors-another")
        drawn = error_lists.listed(workspace, replace(OF, order="random", seed=seed))
        expect(first).to_have_text(workspace.item_id("test", "v2t", int(drawn[0])))
    tells(page, "draw", "1")
    page.click("#errors-next")
    expect(where).to_have_text("13–24 of 120")
    expect(first).to_have_text(workspace.item_id("test", "v2t", int(drawn[12])))
    page.click("#errors-next")
    expect(where).to_have_text("25–36 of 120")
    page.select_option("#errors-slicing select", "shape")  # another list begins at its start
    expect(where).to_have_text("1–12 of 120")
    page.locator("#errors-clear").focus()
    for stop in ("#errors-list .poster", "#errors-list li > button"):
        page.keyboard.press("Tab")
        expect(page.locator(stop).first).to_be_focused()
    expect(page.locator("#errors-list li > button").first).to_be_focused()
    name = first.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#results .asked")).to_be_visible()
    assert state_of(page)["query"] == [f"caption:{name}"]


def test_a_link_brings_the_same_list_back_and_captions_stay_text(page, url, workspace):
    keys = {
        "a": "siglip",
        "b": "info_nce",
        "at": "5",
        "bucket": "all wrong",
        "slicing": "shape",
        "slice": "ring",
        "order": "b",
    }
    opened(page, url, "errors", **{key: quote(value) for key, value in keys.items()})
    of = Asked("test", "t2v", "siglip", "info_nce", (), 5, "all wrong", "shape", "ring", None, "b")
    count = len(error_lists.listed(workspace, of))
    expect(page.locator("#errors-listed")).to_contain_text(f"all wrong · shape: ring, {count}.")
    for key, value in keys.items():
        assert state_of(page)[key] == [value]
    with page.expect_download() as saved:
        page.click("#errors-csv")
    assert saved.value.suggested_filename == "errors.csv"
    assert saved.value.path().read_bytes().decode() == as_csv(
        workspace, replace(of, others=("max_of_hinges",))
    )
    # The fourth picture's second caption is markup: a seed that draws it early shows it letter by letter.
    of = replace(OF, order="random")
    seed = next(s for s in range(500) if 7 in error_lists.listed(workspace, replace(of, seed=s))[:12])
    opened(page, url, "errors", order="random", draw=seed)
    row = page.locator("#errors-list li", has_text="test-003#1").first
    expect(row).to_contain_text(MARKUP)
    assert row.locator("script, img[src=x]").count() == 0
    # Nothing runs out at the right.
    for width in (1400, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        over = page.evaluate(
            """() => [...document.querySelectorAll('#errors-list, #errors-hub-list')].map((list) =>
            Math.max(...[...list.querySelectorAll('button')].map((one) => one.getBoundingClientRect().right)) - list.getBoundingClientRect().right)"""
        )
        assert max(over) <= 1, (width, over)


def test_one_run_alone_is_said_and_its_list_shown(page, url):
    opened(page, url, "errors", runs="info_nce", bucket="only%20A")
    expect(page.locator("#errors-about")).to_have_text("A is info_nce, and there is no B.")
    expect(page.locator("#errors-ranks figcaption")).to_contain_text("need two runs")
    expect(page.locator(".corner")).to_contain_text("No query is in “only A”")
    expect(page.locator("#errors-where")).to_have_text("1–12 of 120")
    page.get_by_role("button", name="Take out info_nce").click()
    expect(page.locator("#errors-buckets figcaption")).to_contain_text("pick one as A")
    page.select_option("#errors-a select", "siglip")
    expect(page.locator("#errors-about")).to_contain_text("A is siglip")
