"""The report: one page without requests, true to the runs, and safe with what strangers wrote."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import escape

from scripts import report as script
from scripts import train as train_script
from tests import tiny
from tests.fake_workspace import (
    MARKUP,
    make_classes,
    make_clips,
    make_other,
    make_pictures,
    make_workspace,
)
from xmr.analysis import hits, slice_means
from xmr.checkpoints import load_run
from xmr.figures import errors as figures
from xmr.views import TABS, view
from xmr.views import html as drawing
from xmr.views.report import Subject, _within
from xmr.workspace.pages import Page

SMALL = [f"--set={name}={value}" for name, value in tiny.SMALL.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    data = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")
    out = tmp_path_factory.mktemp("runs")
    options = ["--out", str(out), "--epochs", "2", "--batch-size", "32", "--lr", "0.02", *SMALL]
    assert train_script.main(["--dataset", str(data), "--loss", "info_nce", "max_of_hinges", *options]) == 0
    return out


def page_of(workspace, **options):
    subject = Subject(workspace, list(workspace.runs), "test", **options)
    return script.report(subject, [], ["a", "b"])


def only(monkeypatch, *titles):
    """Reports of these sections alone."""
    monkeypatch.setattr(script, "SECTIONS", {title: script.SECTIONS[title] for title in titles})


def table(html, name):
    """Rows of cells of the table with that label."""
    found = re.search(rf'(?:aria-label|data-block)="{re.escape(name)}"[^>]*>(.*?)</table>', html, re.S).group(
        1
    )
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.S)
    strip = lambda cell: re.sub(r"<[^>]+>", "", re.sub(r"(?s)<small>.*?</small>", "", cell))  # noqa: E731
    return [[strip(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in rows]


def figures_of(html):
    parts = re.findall(
        r'style="min-height[^>]*></div><script type="application/json">(.*?)</script>', html, re.S
    )
    return [json.loads(part) for part in parts]


def test_the_report_of_tiny_runs_says_what_was_measured(runs, tmp_path, capsys):
    out = tmp_path / "deep" / "report.html"
    folders = [str(runs / name) for name in ("max_of_hinges", "info_nce")]
    assert script.main([*folders, "--out", str(out)]) == 0
    html = out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert len(html) < 6_000_000 and str(runs) not in html and "MB" in capsys.readouterr().err
    assert "<title>2 runs on tiny (test)</title>" in html and "24 images and 48 captions" in html
    head, *rows = table(html, "Metrics, text → image")
    assert [row[0][1:] for row in rows] == [
        "max_of_hinges",
        "info_nce",
    ]  # behind their marks, in the order given
    for row in rows:
        run = load_run(runs / row[0][1:])
        assert float(row[head.index("R@5")]) == pytest.approx(
            100 * run.metrics["test"]["t2v/recall_at_5"], abs=0.051
        )
        assert float(row[head.index("median rank")]) == run.metrics["test"]["t2v/median_rank"]
        assert float(row[head.index("rsum")]) == pytest.approx(run.metrics["test"]["rsum"], abs=0.051)
    [_, difference] = table(html, "Differences to max_of_hinges, text → image")
    expected = float(rows[1][1]) - float(rows[0][1])
    shown = float(re.sub("[↑↓]", "", difference[1]).replace("−", "-"))
    assert shown == pytest.approx(expected, abs=0.11)
    best = {name: load_run(runs / name).training["best_epoch"] for name in ("info_nce", "max_of_hinges")}
    assert f"(epoch {best['info_nce']})" in html


def test_the_page_needs_nothing_and_shows_markup_as_text(page, tmp_path, cache_folder, monkeypatch):
    workspace = make_workspace(tmp_path, broken=False, names=("info_nce", "siglip"))
    data = workspace.dataset("test")
    # The picture whose second caption is markup, and that caption, are examples; labels and a run carry markup too.
    asked = {"v2t": np.array([3]), "t2v": np.array([7])}
    monkeypatch.setattr(
        type(workspace), "disagreements", lambda self, runs, split, direction: asked[direction]
    )
    labels = [f"{MARKUP}{i % 2}" for i in range(len(data.visual_ids))]
    hostile = replace(data, columns=data.columns | {"<b>kind</b>": labels}, name="<i>shapes</i>")
    run = workspace.runs.pop("siglip")
    workspace.runs["<u>run</u>"] = replace(run, name="<u>run</u>")
    workspace._memo._values["dataset", "test"] = hostile
    html = page_of(workspace)
    path = tmp_path / "report.html"
    path.write_text(html)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.emulate_media(color_scheme="light")
    page.goto(path.as_uri(), timeout=60_000)
    page.evaluate(
        "() => document.querySelectorAll('.plot').forEach((plot) => plot.dataset.drawn || draw(plot))"
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)", timeout=60_000
    )
    ink = "() => getComputedStyle(document.querySelector('.plot text')).fill"
    bright = f"({ink})().match(/[0-9]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 380"
    assert not page.evaluate(f"() => {bright}")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1400
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function("() => document.documentElement.scrollWidth <= 390", timeout=60_000)
    page.emulate_media(color_scheme="dark")  # figures are drawn anew where the page's colours change
    page.wait_for_function(f"() => {bright}", timeout=60_000)
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    assert page.locator("table").count() >= 9 and page.locator(".plot svg.main-svg").count() >= 18
    assert page.get_by_text(MARKUP).count() > 0
    assert page.locator("main b", has_text="bold").count() == 0 and page.locator("main u").count() == 0
    assert page.locator("img[src^='data:image/webp']").count() >= 11
    assert page.locator("img:not([alt])").count() == 0
    assert "<i>shapes</i>" in page.title()


def test_every_block_of_every_tab_is_drawn_or_needs_somebody(tmp_path, cache_folder):
    workspace = make_workspace(tmp_path, broken=False)
    pages = [Page("shapes", "", dict(workspace.runs), lambda: workspace)]
    shown = {title: view(pages, {"tab": tab})["blocks"] for tab, (title, _) in TABS.items()}
    html = drawing.page("all", [], shown, "")
    every = list(_within([block for blocks in shown.values() for block in blocks]))
    needs = {
        "control",
        "visitor",
        "verdicts",
        "map",
        "point",
        "tiles",
    }  # somebody who chooses, a name, a pointer
    assert {block["kind"] for block in every} <= drawing.drawn() | needs
    said = {block["id"]: block["text"] for block in every if block["kind"] == "words"}
    said |= {block["id"]: block["value"]["words"] for block in every if block["kind"] == "chart"}
    assert len(said) > 20 and not [id for id, text in said.items() if str(escape(text)) not in html]


@pytest.mark.parametrize("make", [make_clips, make_pictures, make_classes])
def test_clips_pictures_and_classes_have_their_own_words(make, tmp_path, cache_folder, monkeypatch):
    only(
        monkeypatch,
        *("The runs", "Results", "Hubs and the modality gap"),
        *("Where the runs disagree", "Suspected false negatives"),
    )
    workspace = make_other(tmp_path, make, {"siglip": "cross_attention"})
    html = page_of(workspace)
    by_run = {row[0][1:]: row for row in table(html, "errors-table")[1:]}
    assert by_run["siglip"][-4:] == ["–"] * 4 and float(by_run["info_nce"][-4]) > 0
    if make is make_clips:
        assert "text → clip" in html and "60 clips and 120 captions" in html
        assert html.count("data:image/webp") > 20
    if make is make_pictures:
        assert "gallery → query" in html and "pictures are compared with pictures" in html
    if make is make_classes:
        assert "4 class labels" in html and "mAP" in table(html, "Metrics, text → image")[0]
        assert "data:image/webp" not in html and "same class" in html
    assert len(figures_of(html)) >= 2


def test_one_run_alone_and_a_combination_are_told_as_such(tmp_path, cache_folder, monkeypatch):
    workspace = make_workspace(tmp_path, broken=False, names=("info_nce",))
    html = page_of(workspace)
    assert "<title>info_nce on shapes (test)</title>" in html and "Differences to" not in html
    only(monkeypatch, "The runs", "Training", "Weights of pairs", "Suspected false negatives")
    run = workspace.runs["info_nce"]
    workspace.runs["info_nce"] = replace(run, config=replace(run.config, loss=""))
    html = page_of(workspace)
    assert (
        "mean of 2 runs" in html
        and "its pairs have no weights" in html
        and "no training of their own" in html
    )


def test_runs_of_other_data_are_left_out_and_differences_are_warned_of(runs, tmp_path, capsys):
    other = tiny.write_folder(tmp_path / "other")
    lines = (other / "captions.csv").read_text().replace("red", "crimson")
    (other / "captions.csv").write_text(lines)
    options = ["--epochs", "1", "--batch-size", "32", *SMALL]
    assert (
        train_script.main(["--dataset", str(other), "--loss", "siglip", "--out", str(tmp_path), *options])
        == 0
    )
    some = ["--train-visuals", "30", "--out", str(tmp_path / "few"), *options]
    data = load_run(runs / "info_nce").config.dataset
    assert train_script.main(["--dataset", data, "--loss", "info_nce", *some]) == 0
    out = tmp_path / "report.html"
    folders = [runs / "info_nce", tmp_path / "few" / "info_nce", tmp_path / "siglip", runs / "info_nce"]
    assert script.main([*map(str, folders), "--out", str(out)]) == 0
    html = out.read_text()
    assert "siglip is left out: trained on" in html and "different numbers of training visuals" in html
    names = [row[0][1:] for row in table(html, "Protocol: the runs")[1:]]
    assert names == [f"{runs.name}/info_nce", "few/info_nce"]


def test_what_can_not_be_reported_is_an_error_that_helps(runs, tmp_path, capsys):
    assert script.main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert script.main([str(runs / "info_nce"), "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert script.main([str(runs / "info_nce"), "--dataset", "blocs", "--out", str(tmp_path / "r.html")]) == 2
    assert "blocs" in capsys.readouterr().err and not (tmp_path / "r.html").exists()


# ---- figures and their words -----------------------------------------------------------------------------


def test_bars_are_shares_that_sum_to_all():
    found = {
        "B = <b>x</b>": {"all right": [0], "only A": [1, 2], "only B": [], "all wrong": [3], "no match": [4]}
    }
    figure = figures.buckets_figure(found)
    assert sum(bar.x[0] for bar in figure.data) == pytest.approx(100)
    assert {bar.name: bar.customdata[0] for bar in figure.data}["only A"] == 2
    assert "&lt;b&gt;" in figure.layout.yaxis.ticktext[0]
    words = figures.buckets_words(
        {"all right": [0], "only A": [1, 2], "only B": [], "all wrong": [3]}, ["a", "b"], 1
    )
    assert "25%" in words and "a alone for 50%" in words and "right for 75%, 0.0 points more than a" in words


def test_the_map_of_ranks_counts_every_query():
    a, b = np.array([1, 1, 3, 4, 2000, np.nan]), np.array([1, 2, 3, 9, 1, 4])
    figure = figures.ranks_figure(a, b, ("a", "b"))
    counts, names = np.array(figure.data[0].customdata), list(figure.layout.xaxis.ticktext)
    assert counts.sum() == 5 and names[-1] == "1025+" and names[:4] == ["1", "2", "3–4", "5–8"]
    assert counts[names.index("1"), names.index("1025+")] == 1  # rows are b
    assert counts[names.index("9–16"), names.index("3–4")] == 1
    assert list(figures.ranks_figure(a[:1], b[:1], ("a", "b")).layout.xaxis.ticktext) == ["1"]


def test_slices_are_drawn_where_their_means_are():
    slicing = {"first": np.arange(4), "last": np.arange(4, 6)}
    right = hits(np.array([1.0, 1, 2, 3, 1, 1]), 1)
    found = {"run": slice_means(right, slicing)}
    figure = figures.slices_figure(found, {"run": _Style()}, "R@1, %")
    assert list(figure.data[0].x) == [50, 100] and list(figure.data[0].y) == [0, 1]
    assert figure.layout.yaxis.ticktext == ("first (4)", "last (2)")
    words = figures.slices_words("place", found["run"], ("a", "b"))
    assert "b is 100.0 points above a on “last”" in words


class _Style:
    colour, marker, dash = "#000000", "circle", "solid"
