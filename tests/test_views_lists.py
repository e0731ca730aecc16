"""Lists of suspects: what their names say, how selectors agree, and where pages begin and end."""

import json
import re
from dataclasses import replace

import numpy as np

from tests.fake_workspace import make_workspace
from tests.viewed import see
from xmr.analysis import precision_recall
from xmr.selection import SELECTORS
from xmr.views import suspect_lists
from xmr.views.suspect_pages import list_page
from xmr.views.suspect_settings import settings_of
from xmr.workspace.measurements import hard_negatives


def drawn_of(workspace, settings, run, direction):
    """The chart and the table of these selectors, the first with moved sliders."""
    first, *others = settings
    held = (
        f"{name}: {', '.join(f'{key}={value}' for key, value in settings[name].items())}" for name in settings
    )
    state = {"selector": first, "compare": others or ["-"], "settings": "; ".join(held), "fn_run": run}
    seen = see(workspace, tab="false_negatives", direction=direction, **state)
    assert not seen.said
    return seen.value("fn-chart"), seen.value("fn-table")


def show_false(workspace, listed="all", page=0, threshold=0.8, direction="t2v", run="siglip", **others):
    settings = {"caption_similarity": {"threshold": threshold}} | others
    asked = suspect_lists.Asked(run, "test", direction, settings, listed)
    drawn, numbers = drawn_of(workspace, settings, run, direction)
    shown = list_page(workspace, asked, shown=(12 * page, 12 * page + 11))
    at = (int(shown.where.split("–")[0].replace(",", "")) - 1) // 12 if shown.shown else 0
    return drawn, numbers, shown.cards, at, shown.where


def count_in(where):
    """How many pairs a list has, with those that are judged with them."""
    if where.startswith("none"):
        return 0
    listed, more = re.match(r"\S+ of ([\d,]+)(?:.*; ([\d,]+) more)?", where).groups()
    return int(listed.replace(",", "")) + int((more or "0").replace(",", ""))


def test_lists_are_what_their_names_say(workspace):
    found = hard_negatives(workspace, "siglip", "test", "t2v")
    sizes = {}
    for listed in ("all", "suspected", "missed", "false"):
        _, _, shown, page, where = show_false(workspace, listed, threshold=0.4)
        sizes[listed] = count_in(where)
        for card in shown["cards"]:
            badges = [badge["text"] for badge in card["badges"]]
            assert (listed in ("suspected", "false")) <= ("suspected" in badges)
            assert (listed == "missed") <= (badges == ["truly matches"])
            assert (listed == "false") <= ("not a match" in badges)
            assert card["suspected"] == ("suspected" in badges)
            assert card["note"] == ""
        assert page == 0
        assert len(shown["cards"]) <= 24
    assert sizes["all"] == len(found)
    flagged = sizes["suspected"]
    measured = precision_recall(np.arange(len(found)) < 0, found.truth)
    assert sizes["missed"] + (flagged - sizes["false"]) == measured.matches


def test_every_selector_judges_and_agreement_is_counted(workspace):
    others = {name: SELECTORS[name].defaults for name in SELECTORS if name != "caption_similarity"}
    drawn, numbers, shown, _, _ = show_false(workspace, "suspected", threshold=0.4, **others)
    count = len(SELECTORS)
    assert [row["name"] for row in numbers["rows"]] == ["caption_similarity", *others, "all of them"]
    assert "can't judge" not in drawn["words"]
    assert len(drawn["figure"]["data"]) == 2 * count
    assert f"All {count} selectors agree on" in drawn["words"]
    assert len(json.dumps(drawn)) < 100_000
    for card in shown["cards"]:
        votes = int(card["badges"][0]["text"].removeprefix("suspected by ").removesuffix(f" of {count}"))
        named = card["note"].split(";")[0].removeprefix("Suspected by ").split(", ")
        assert len(named) == votes
    two = {"word_overlap": {"threshold": 0.6}}
    masks, _ = suspect_lists.ask(
        workspace, "siglip", "test", "t2v", {"caption_similarity": {"threshold": 0.4}} | two
    )
    a, b = masks.values()
    sizes = {"agreed": a & b, "contested": a ^ b, "only": a & ~b, "suspected": a | b}
    for listed, mask in sizes.items():
        where = show_false(workspace, listed, threshold=0.4, **two)[-1]
        assert (count_in(where)) == mask.sum()
    row = show_false(workspace, threshold=0.4, **two)[1]["rows"][1]["cells"]
    measured = precision_recall(b, hard_negatives(workspace, "siglip", "test", "t2v").truth)
    p, r, match = measured.precision, measured.recall, found_truth(workspace) > 0
    alarms = (b & ~match).sum() / (~match).sum()
    assert row == [f"{b.sum():,}", f"{p:.0%}", f"{r:.0%}", f"{r - alarms:.2f}"]
    every = show_false(workspace, threshold=0.4, **two)[1]["rows"][-1]["cells"]
    assert every == [f"{len(b):,}", f"{match.mean():.0%}", "100%", "0.00"]


def found_truth(workspace):
    return hard_negatives(workspace, "siglip", "test", "t2v").truth


def test_sliders_that_were_moved_stay_when_another_selector_comes_first():
    held = {"posterior": {"threshold": 0.1, "prior": 0.02}}
    found = settings_of("word_overlap", {"threshold": 0.3}, ["posterior", "word_overlap", "top_ranked"], held)
    assert found == {"word_overlap": {"threshold": 0.3}, **held, "top_ranked": {"k": 1}}


def test_pages_stop_at_both_ends(workspace):
    _, _, first, page, where = show_false(workspace, page=-1)
    assert page == 0
    assert where.startswith("1–12 of ")
    _, _, last, page, where = show_false(workspace, page=999)
    count = int(where.split(" of ")[1].split(";")[0])
    assert page == (count - 1) // 12
    assert where.startswith(f"{page * 12 + 1}–{count} of")
    assert first["cards"][0]["name"] == "#1"
    found, data = hard_negatives(workspace, "siglip", "test", "t2v"), workspace.dataset("test")
    asks = [(v, data.captions[t]) for v, t in zip(found.candidate, found.query, strict=True)]
    assert count == len(set(asks)) < len(asks)  # what reads alike is asked once
    assert last["cards"][-1]["name"] == f"#{count}"
    pair = asks[max(asks.index(ask) for ask in set(asks))]
    assert (last["cards"][-1]["pair"][0], data.captions[last["cards"][-1]["pair"][1]]) == pair


def test_a_lower_threshold_suspects_more_and_the_words_follow(workspace):
    shares = [show_false(workspace, threshold=t)[0]["words"] for t in (0.95, 0.5, 0.2)]
    counts = [int(text.split("hardest, ")[1].split()[0]) for text in shares]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert "precision" in shares[1]
    assert "recall" in shares[1]


def test_without_truth_nothing_is_claimed(workspace, tmp_path):
    blind = make_workspace(tmp_path)
    load = blind.load
    blind.load = lambda split: replace(load(split), truth=None)
    blind._memo._values.clear()
    drawn, numbers, shown, _, _ = show_false(blind)
    assert drawn["figure"] is None
    assert "isn't known" in drawn["words"]
    assert numbers["rows"][0]["cells"][1:] == ["–"] * 3
    assert "isn't known" in numbers["note"]
    assert {badge["text"] for card in shown["cards"] for badge in card["badges"]} <= {
        "suspected",
        "not annotated",
        "reads like its own caption",
    }
    assert [name for _, name in suspect_lists.filters(blind)] == [
        "all",
        "first",
        "suspected",
        "agreed",
        "contested",
        "only",
    ]
    table = see(blind, tab="distributions").value("distributions-table")
    assert len(table["columns"]) == 7
