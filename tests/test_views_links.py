"""Links: items by their names, queries as they are written, scores on three scales and the card of an item."""

import numpy as np
import pytest

from xmr.views.details import details
from xmr.views.query import Asked, disagreement, read_query, written
from xmr.views.scales import Scores
from xmr.words import significant
from xmr.workspace.item_names import UnknownItem, find_item, item_link
from xmr.workspace.measurements import weight_of_pair


def test_every_item_is_found_by_its_name(workspace):
    for side, count in (("visual", 60), ("caption", 120)):
        names = [item_link(workspace, "test", side, index) for index in range(count)]
        assert len(set(names)) == count
        assert [find_item(workspace, "test", name) for name in names] == [(side, i) for i in range(count)]
    for name in (
        "",
        "visual:",
        "visual:test-999",
        "caption:test-000#2",
        "caption:test-000#-1",
        "caption:test-000",
        "x",
    ):
        with pytest.raises(UnknownItem):
            find_item(workspace, "test", name)


@pytest.mark.parametrize(
    "asked",
    [
        Asked("item", "test", "t2v", index=7),
        Asked("item", "test", "v2t", index=5),
        Asked("text", "test", "t2v", text="a: b"),
    ],
)
def test_a_query_is_read_as_it_was_written(workspace, asked):
    assert read_query(workspace, written(workspace, asked), "test") == asked


@pytest.mark.parametrize("text", ["", "text:  ", "upload", "visual:none", "nonsense"])
def test_a_query_that_is_none_is_refused(workspace, text):
    with pytest.raises(ValueError, match=r"\w"):
        read_query(workspace, text, "test")


def test_scores_on_three_scales(workspace):
    asked = Asked("item", "test", "t2v", index=4)
    row = workspace.scores("siglip", "test", "t2v", np.array([4]))[0].astype(float)
    links = workspace.dataset().visual_of_text
    matches = workspace.scores("siglip", "test", "t2v")[np.arange(120), links]
    score = float(row[9])
    scores = Scores(workspace, "siglip", asked, asked.query(), "z")
    assert scores.z(score) == f"{(score - row.mean()) / row.std():+.1f}".replace("-", "−")
    assert scores.above(score) == f"{100 * (matches < score).mean():.0f}%"
    assert Scores(workspace, "siglip", asked, asked.query(), "raw").short(score) == f"{score:.3f}"


def test_the_card_of_an_item_tells_the_weight_of_the_pair(workspace):
    asked = disagreement(workspace, "test", "t2v", list(workspace.runs))
    card = details(workspace, asked, list(workspace.runs), 9)
    for row in card["runs"]:
        weight = weight_of_pair(workspace, row["name"], "test", "t2v", asked.index, 9)
        assert row["weight"] == significant(weight, sign=True)
    free = details(workspace, Asked("text", "test", "t2v", text="a ring"), ["siglip"], 9)
    assert free["runs"][0]["weight"] == "–" and not free["pair"]
