"""The stories that come with xmr tell the truth of the runs that do: what their steps say is read off the views beside them."""

import re
from pathlib import Path

import pytest

from xmr.analysis import shape_of
from xmr.losses import LOSSES
from xmr.views import view
from xmr.views.stories import SHIPPED, open_stories
from xmr.workspace.pages import open_pages

KEEPS = True  # what is measured of the shipped runs
CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
NUMBER = re.compile(r"\d[\d,.]*\d|\d")


@pytest.fixture(scope="module")
def pages(cache_folder):
    return open_pages(CHECKPOINTS, "blocks")


@pytest.fixture(scope="module")
def stories(pages):
    found, faults = open_stories(SHIPPED, pages)
    assert faults == []
    return {story.id: story for story in found}


def texts(value):
    """All that a view says, but for the numbers of its figures, which nobody reads."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in ("figure", "table", "math", "id", "image", "src"):
                yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)
    elif isinstance(value, int | float):
        yield str(value)


IDS = sorted(path.stem for path in SHIPPED.glob("*.md"))


@pytest.mark.parametrize("id", IDS)
def test_every_number_of_a_step_stands_in_its_view(pages, stories, id):
    story = stories[id]
    assert len(story.steps) == 5 and story.about
    for step in story.steps:
        answer = view(pages, step.keys)
        while answer.get("again"):
            answer = view(pages, step.keys)
        assert "fault" not in answer and answer["said"] == [], (step.title, answer)
        said = " ".join(texts(answer["blocks"]))
        there = set(NUMBER.findall(said))
        told = set(NUMBER.findall(" ".join(re.sub(r"`[^`]*`", "", text) for text in step.paragraphs)))
        known = BESIDES.get((id, step.title), set())
        assert told - there == known, (step.title, told - there)
        for name in re.findall(r"`(\w+)`", " ".join(step.paragraphs)):
            assert name in said or name == "blocks", (step.title, name)


# What no view says in figures: 326 pictures less the annotated one.
BESIDES = {("2-hard-negatives", "A caption that is true of many"): {"325"}}


def test_what_stories_say_of_runs_is_what_their_files_say(pages, stories):
    """By the figures that training wrote, and by formulas, without any view."""
    measured = {name: run.metrics["test"] for name, run in pages[0].runs.items()}

    def per_cent(run, key):
        return f"{100 * measured[run][f't2v/{key}']:.1f}"

    def said(id, step):
        return " ".join(stories[id].steps[step - 1].paragraphs)

    assert f"first for {per_cent('info_nce', 'recall_at_1')}%" in said("3-annotated-recall", 1)
    assert f"`max_of_hinges` for {per_cent('max_of_hinges', 'recall_at_1')}%" in said("3-annotated-recall", 1)
    assert f"right for {per_cent('info_nce', 'true_recall_at_1')}%" in said("3-annotated-recall", 2)
    for run in ("info_nce", "max_of_hinges"):
        assert f"`{run}` {per_cent(run, 'true_map_at_r')}" in said("3-annotated-recall", 3)
    best = sorted(measured, key=lambda run: -measured[run]["t2v/recall_at_1"])
    assert best[:2] == ["complementary", "decoupled"]
    assert set(best[:7]) >= {"complementary", "decoupled", "soft_labels", "hard_reweighted"}
    lead = 100 * (measured[best[0]]["t2v/recall_at_1"] - measured[best[1]]["t2v/recall_at_1"])
    assert f"{lead:.1f} points above `decoupled`" in said("4-real-differences", 5)
    gap = 100 * (measured["info_nce"]["t2v/recall_at_1"] - measured["siglip"]["t2v/recall_at_1"])
    assert f"{gap:.1f} points behind" in said("4-real-differences", 1)

    shipped = [entry for entry in LOSSES.values() if entry.shipped]
    found = [shape_of(entry.name, entry.defaults).solved for entry in shipped]
    told = f"Of {len(found)}, {sum(one == 0 for one in found)} let a solved query go entirely, and {sum(one >= 0.1 for one in found)} keep"
    assert told in said("1-where-losses-pull", 5)
    # [0.9 h² - 0.4 h + 0.03]_+ is 0 between its roots, and falls below the first.
    root = (0.4**2 - 4 * 0.9 * 0.03) ** 0.5
    assert f"between {(0.4 - root) / 1.8:.3f} and {(0.4 + root) / 1.8:.3f} is left alone" in said(
        "1-where-losses-pull", 4
    )
