"""The shape of each loss's weights, as loops and closed forms have it; a page for each loss; and formulas as MathML."""

import math

import numpy as np
import pytest

from tests.fake_workspace import make_workspace
from tests.oracles import ORACLES
from tests.viewed import see
from xmr.analysis import NEGATIVES, shape_of
from xmr.analysis.shapes import FAR, SOLVED, UNSOLVED, query
from xmr.losses import LOSSES
from xmr.views.losses import findings, shapes
from xmr.views.prose import mathml, parts

SHIPPED = sorted(name for name, entry in LOSSES.items() if entry.shipped)
# Weights that are no slopes of their values, because parts of them carry no gradient, or integrals of thousands of steps.
NO_SLOPES = {"circle", "hardness_weighted", "polynomial_calibrated", "gravitation", "weighting"}
LONE = [name for name in SHIPPED if not LOSSES[name].needs and name not in NO_SLOPES]


def slopes(name, row):
    """The loop of the paper, asked at a little more and a little less of every score."""

    def value(scores):
        return ORACLES[name]([scores], [[0]], [list(range(1, len(scores)))])[0]

    found = []
    for at in range(len(row)):
        up, down = list(row), list(row)
        up[at] += 1e-6
        down[at] -= 1e-6
        found.append((value(up) - value(down)) / 2e-6)
    return found


@pytest.mark.parametrize("name", LONE)
def test_the_shape_is_that_of_the_papers_loop(name):
    found = shape_of(name, LOSSES[name].defaults)
    unsolved, far, solved = (slopes(name, query(*one).tolist()) for one in (UNSOLVED, FAR, SOLVED))
    push = unsolved[1:]
    pushed = [max(one, 0) for one in push]
    assert found.carried == pytest.approx(sum(pushed) ** 2 / sum(one**2 for one in pushed), rel=1e-3)
    assert found.easy == pytest.approx(push[len(push) // 2] / max(pushed), rel=1e-3, abs=1e-5)
    assert found.far == pytest.approx(far[1] / max(pushed), rel=1e-3, abs=1e-5)
    assert found.solved == pytest.approx(max(map(abs, solved)) / max(map(abs, unsolved)), rel=1e-3, abs=1e-5)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def within_margin():
    """Negatives of the unsolved query that stand less than 0.2 below its positive."""
    return int((query(*UNSOLVED)[1:] > UNSOLVED[0] - 0.2).sum())


KNOWN = {
    "max_of_hinges": {"carried": 1, "easy": 0, "far": 1, "solved": 0, "most": 1, "growth": 1, "attracts": 0, "alone": False},
    "sum_of_hinges": {"carried": within_margin(), "easy": 0, "far": 1, "solved": 0, "most": NEGATIVES, "growth": 1},
    "semi_hard": {"carried": 1, "solved": 0},
    "soft_margin": {"carried": 1, "far": sigmoid(4) / sigmoid(0.5), "solved": sigmoid(-9) / sigmoid(0.5), "growth": 1},
    "contrastive": {"alone": True, "growth": 1},
    "siglip": {"alone": True, "growth": 1, "easy": sigmoid(10 * query(*UNSOLVED)[17] - 10) / sigmoid(-4.5)},
    "similar_dissimilar": {"alone": True, "growth": 1, "attracts": 0},
    "info_nce": {"attracts": 0, "most": 1 / 0.07, "growth": 1, "alone": False},
    "decoupled": {"solved": 1, "most": 10, "growth": 1},
    "polynomial": {"carried": 1, "far": 1.22 / 0.59, "solved": 0},
    "weighting": {"carried": 1, "easy": 0, "solved": (0.5 - 0.2 * 0.8) / 0.59, "growth": 1, "attracts": 0},
}  # fmt: skip


@pytest.mark.parametrize(("name", "known"), KNOWN.items(), ids=KNOWN)
def test_what_the_formulas_say_is_measured(name, known):
    found = shape_of(name, LOSSES[name].defaults)
    assert {key: getattr(found, key) for key in known} == pytest.approx(known, rel=2e-3, abs=1e-6)


def test_groups_of_losses_are_those_of_their_formulas():
    told = findings(shapes())
    named = {id: {name for name in SHIPPED if f" {name}," in f"{text[:-1]},"} for id, text in told.items()}
    assert {"max_of_hinges", "sum_of_hinges", "semi_hard", "double_triplet", "polynomial"} <= named["let-go"]
    assert {"contrastive", "decoupled", "weighting"} <= named["kept"]
    assert {"siglip", "similar_dissimilar", "contrastive"} == named["alone"]
    assert {"polynomial", "polynomial_max", "complementary"} <= named["attracted"]
    assert {"max_of_hinges", "polynomial", "weighting"} <= named["hardest"] <= named["easy"]
    assert not named["hardest"] & {"info_nce", "siglip", "double_triplet", "debiased"}
    assert "max_of_hinges" not in named["attracted"] | named["grows"] | named["kept"]
    assert {"polynomial", "polynomial_max", "polynomial_avg", "polynomial_relative", "circle"} <= named[
        "grows"
    ]
    assert named["given-up"] == {"semi_hard"}


# ---- formulas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_every_formula_is_mathml_without_a_command_that_was_not_understood(name):
    lead, fields = LOSSES[name].told()
    shown = [one for line in lead for one in parts(line)]
    assert [one for one in shown if "math" in one and one["math"][1]["display"] == "block"]
    assert list(fields)[:3] == ["Weights", "Relations", "Reference"]

    def texts(node):
        return [node[2]] if isinstance(node[2], str) else [text for one in node[2] for text in texts(one)]

    for one in shown:
        assert not one.get("code") or one["text"] in LOSSES, one  # what is no LaTeX would be code
        if "math" in one:
            assert not any("\\" in text or "$" in text for text in texts(one["math"])), one["latex"]
            assert texts(one["math"])


def test_text_is_told_in_parts_and_markup_stays_text():
    moves = {"info_nce": {"about": "info_nce"}, "circle": {"about": "circle"}}
    found = parts("info_nce and `circle`, a circle, *so*: <b>1</b> $x^2$ https://a.org/b, `c`", moves)
    told = [(one.get("text") or one["latex"], *sorted(set(one) - {"text"})) for one in found]
    assert told == [
        ("info_nce", "set"), (" and ",), ("circle", "set"), (", a circle, ",), ("so", "emphasis"), (": <b>1</b> ",),
        ("x^2", "latex", "math"), (" ",), ("https://a.org/b", "href"), (", ",), ("c", "code"),
    ]  # fmt: skip
    assert parts("$\\href{javascript:1}{x}$") != [] and "javascript" not in str(
        [one.get("math") for one in parts("$\\href{javascript:1}{x}$")]
    )


def test_mathml_is_plain_data():
    tag, attributes, inner = mathml("\\frac{1}{2}", False)
    assert (tag, attributes["display"]) == ("math", "inline")
    assert str(inner).count("mfrac") == 1 and "1" in str(inner)
    assert mathml("a < b", False)[2][0][2][1] == ["mo", {}, "<"]
    for latex in ("\\frac{1}", "\\nothing x", "\\left( x"):
        with pytest.raises(ValueError, match="formula"):
            mathml(latex, True)


# ---- the tab --------------------------------------------------------------------------------------------------------


def test_a_page_of_a_loss_and_the_table_of_all(tmp_path, cache_folder):
    workspace = make_workspace(tmp_path)
    seen = see(workspace, tab="losses", about="siglip")
    assert seen["losses-name"]["text"] == "siglip" and seen["losses-runs"]["text"] == "Runs here: siglip."
    labels = [one["label"] for one in seen.value("losses-fields")["paragraphs"]]
    assert labels == ["Weights", "Relations", "Reference"]
    assert "siglip pushes a negative hardest at 1.00" in seen.words("losses-curve")
    assert set(seen.names("losses-table")) == set(LOSSES)
    rows = {row["name"]: row["cells"] for row in seen.value("losses-table")["rows"]}
    assert [one["text"] for one in rows["max_of_hinges"]] == [
        "1.0",
        "none",
        "× 1.00",
        "lets go",
        "1.00",
        "bounded",
        "none",
        "no",
    ]
    picked = see(workspace, act=("losses-table", "pick", {"row": "circle"}), tab="losses")
    assert picked.state["about"] == "circle" and picked.go == "losses-name"
    assert see(workspace, tab="losses").state["about"] == "max_of_hinges"  # the baseline's
    wrong = see(workspace, tab="losses", about="infonce")
    assert "did you mean 'info_nce'" in wrong.said[0]


def test_relations_lead_to_other_losses(tmp_path, cache_folder):
    seen = see(make_workspace(tmp_path), tab="losses", about="info_nce")
    paragraphs = {one["label"]: one["parts"] for one in seen.value("losses-fields")["paragraphs"]}
    led = [one["set"]["about"] for one in paragraphs["Relations"] if "set" in one]
    assert led == ["max_of_hinges", "unified"]
    assert [one["href"] for one in paragraphs["Reference"] if "href" in one] == [
        "https://arxiv.org/abs/1807.03748", "https://arxiv.org/abs/2103.00020",
    ]  # fmt: skip


def test_a_query_of_shapes_stands_as_it_is_told():
    row = query(0.4, 0.45)
    assert len(row) == 1 + NEGATIVES and row[0] == 0.4 and row[1] == row[1:].max() == 0.45
    assert (np.diff(row[1:]) < 0).all()
