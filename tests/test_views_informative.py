"""In which order pairs are judged, what is hidden from who judges, and what their verdicts tell: precision and agreement."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.judges import RUN, asked_of, judge, listed_pairs, pairs_on, question_of, with_store
from xmr.metrics.agreement import share_interval
from xmr.store import ANSWERS, Answers, standing
from xmr.views import judging
from xmr.views.agreement import agreement_csv, agreement_words
from xmr.views.suspect_lists import examine
from xmr.views.suspect_order import (
    BATCH,
    EVERY,
    ORDERS,
    drawn_suspects,
    estimate_words,
    in_order,
    order_words,
)
from xmr.views.suspect_pages import list_page
from xmr.words import fixed

OTHERS = ("info_nce", "max_of_hinges", "siglip")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return with_store(tmp_path_factory.mktemp("judged"))


def order_of(workspace, order, **more):
    return examine(workspace, asked_of(order=order, runs=OTHERS, **more))


# ---- order ------------------------------------------------------------------------------------------------------


def by_loop(places, weight, disagree, drawn):
    """Of what is left the pair on which most disagree, then the heaviest; in every third turn the next that was drawn."""
    left, found = sorted(places.tolist()), []
    while left:
        random = [place for place in drawn.tolist() if place in left]
        if len(found) % EVERY == EVERY - 1 and random:
            found.append(random[0])
        else:
            found.append(max(left, key=lambda place: (disagree[place], weight[place], -place)))
        left.remove(found[-1])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_informative_order_is_what_a_slow_loop_says(seed):
    rng = np.random.default_rng(seed)
    places = np.flatnonzero(rng.random(60) < 0.8)
    weight, score = rng.integers(4, size=(2, 60)).astype(float)  # with ties
    disagree = rng.integers(3, size=60) / 2
    drawn = rng.permutation(60)[: 12 * seed]
    found = {order: in_order(order, places, weight, score, disagree, drawn).tolist() for _, order in ORDERS}
    assert found["informative"] == by_loop(places, weight, disagree, drawn)
    for order, values in (("weight", weight), ("score", score)):
        assert found[order] == sorted(
            places.tolist(), key=lambda place, values=values: (-values[place], place)
        )


def test_selectors_and_runs_that_disagree_come_first_and_the_order_says_so(workspace):
    examined = order_of(workspace, "informative")
    found, places = examined.found, examined.places
    tops = [workspace.top(run, "test", "t2v") for run in OTHERS]

    def differ(place):
        total = 0.0
        for said in (
            [mask[place] for mask in examined.masks.values()],
            [found.candidate[place] in top[found.query[place]] for top in tops],
        ):
            share = sum(said) / len(said)
            total += 4 * share * (1 - share)
        return round(total, 9)

    keys = np.array([differ(place) for place in range(len(found))])
    assert places.tolist() == by_loop(places, found.weight, keys, examined.drawn) and len(set(keys)) > 3
    assert places.tolist() == order_of(workspace, "informative").places.tolist()
    for order, said in (
        ("informative", "selectors or runs disagree"),
        ("weight", "weigh most"),
        ("score", "scores highest"),
    ):
        assert said in order_words(order, "word_overlap", 2, 3)
    assert "selectors disagree" in order_words("informative", "word_overlap", 2, 1)
    assert "can't disagree" in order_words("informative", "word_overlap", 1, 1)


def test_the_random_order_of_suspects_is_the_same_whatever_suspects_them(workspace):
    examined = order_of(workspace, "weight")
    asks = [question_of(workspace, pair) for pair in pairs_on(workspace)]
    of = workspace, RUN, "test", "t2v"
    every = [asks[place] for place in drawn_suspects(*of, np.ones(len(asks), bool))]
    assert len(set(every)) == len(every)
    for mask in examined.masks.values():
        mine = {ask for ask, hit in zip(asks, mask, strict=True) if hit}
        assert [asks[place] for place in drawn_suspects(*of, mask)] == [ask for ask in every if ask in mine]
    assert every != [asks[place] for place in range(len(asks)) if asks[place] not in asks[:place]]


# ---- blind ------------------------------------------------------------------------------------------------------


def test_what_is_known_is_hidden_until_ones_own_answer(tmp_path, cache_folder):
    workspace = with_store(tmp_path)
    (_, one), (_, two) = listed_pairs(workspace)[:2]
    blind = {"blind": True, "order": "weight"}
    for card in list_page(workspace, asked_of(**blind), "Ann").cards["cards"]:
        assert not (
            card["numbers"] or card["badges"] or card["evidence"] or card["note"] or card["suspected"]
        )
        assert [bool(side["image"]) + bool(side["quote"]) for side in card["sides"]] == [1, 1]
        assert not any(side["captions"] or side["note"] for side in card["sides"])
    judge(workspace, ("a", "yes", one), name="Bob", **blind)
    seen, _ = judge(workspace, ("b", "no", one), shown=[one, two], **blind)
    full = list_page(workspace, asked_of(judge="Ann")).cards["cards"]
    assert (
        seen["cards"][f"{one[0]}:{one[1]}"] == full[0] and not seen["cards"][f"{two[0]}:{two[1]}"]["numbers"]
    )
    assert list_page(workspace, asked_of(judge="Ann", **blind)).cards["cards"][0] == full[0]
    assert not list_page(workspace, asked_of(judge="Cy", **blind)).cards["cards"][0]["numbers"]
    # Lists by what others said tell it too.
    for name, listed in (("Ann", 1), ("Cy", 0)):
        asked = asked_of(judge=name, judged="disputed", **blind)
        assert len(examine(workspace, asked).listed) == listed
    back, _ = judge(workspace, ("c", "undo", (0, 0)), shown=[one], **blind)
    assert not back["cards"][f"{one[0]}:{one[1]}"]["numbers"]


# ---- precision --------------------------------------------------------------------------------------------------


def answers_on(examined, workspace, given):
    """What stands where Ann gave those answers, by place."""
    asks = judging.questions(workspace, RUN, "test", "t2v")
    return standing(Answers("Ann", {asks[place]: {"Ann": answer} for place, answer in given.items()}), asks)


def test_precision_is_estimated_from_whole_batches_of_drawn_suspects_only(workspace):
    examined = order_of(workspace, "informative")
    drawn, given = examined.drawn, {}

    def told(truth=None):
        return estimate_words("word_overlap", drawn, answers_on(examined, workspace, given), truth)

    assert len(drawn) > 3 * BATCH
    given |= dict.fromkeys(drawn[BATCH:].tolist(), "no")  # however many are judged for other reasons
    assert "once the first 10 of its suspects in a random order are judged" in told() and told().endswith(
        ": 0 so far."
    )
    given.clear()
    answers = ["yes"] * 12 + ["no"] * 6 + ["unsure"] * 2 + ["yes"] * 7
    given |= dict(zip(drawn.tolist(), np.random.default_rng(0).permutation(answers).tolist(), strict=False))
    first = [given[place] for place in drawn[: 2 * BATCH].tolist()]
    yes, no = first.count("yes"), first.count("no")
    low, high = share_interval(yes, yes + no)
    assert told().startswith(
        f"Precision of word_overlap as people judge: {yes / (yes + no):.0%} (95% interval {low:.0%}–{high:.0%}, "
        f"Clopper–Pearson), from the first 20 of {len(drawn)} suspects in a random order"
    )
    assert f"({20 - yes - no} on which people are unsure left out)" in told()
    assert "known truth" not in told() and told(0.5).endswith("By the known truth it is 50%.")
    given |= dict.fromkeys(drawn.tolist(), "yes")
    assert told() == (
        f"Precision of word_overlap as people judge: 100%, from all {len(drawn)} suspects in a random order; pairs that were "
        "judged for another reason don't count."
    )
    given |= dict.fromkeys(drawn.tolist(), "unsure")
    assert "not known" in told()
    assert estimate_words("word_overlap", drawn[:0], answers_on(examined, workspace, {}), None) == ""


# ---- agreement --------------------------------------------------------------------------------------------------


def said_by(seed=0, people=2, questions=40):
    rng = np.random.default_rng(seed)
    return {
        (question, 0): {f"P{i}": ANSWERS[rng.integers(3)] for i in range(people) if rng.random() < 0.9}
        for question in range(questions)
    }


def test_agreement_is_told_with_pairs_and_interval_and_taken_home():
    said = said_by()
    both = [(one["P0"], one["P1"]) for one in said.values() if len(one) == 2]
    kappa = cohen_kappa_score(*zip(*both, strict=True))
    text = agreement_words(Answers("", said))
    assert (
        f"on {len(both)} pairs that both judged" in text
        and f"Cohen's κ is {fixed(kappa, 2)} (95% interval " in text
    )
    (row,) = csv.DictReader(io.StringIO(agreement_csv(Answers("", said)), newline=""))
    assert (row["person"], row["other"], int(row["pairs_both_judged"])) in (
        ("P0", "P1", len(both)),
        ("P1", "P0", len(both)),
    )
    assert float(row["cohen_kappa"]) == pytest.approx(kappa, abs=1e-4)
    assert float(row["low_95"]) < kappa < float(row["high_95"])
    assert "mean of Cohen's κ over pairs of people" in agreement_words(Answers("", said_by(people=3)))
    assert "the 8 people who judged most" in agreement_words(Answers("", said_by(people=12)))
    assert len(agreement_csv(Answers("", said_by(people=4))).splitlines()) == 1 + 6


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], ""),
        ([{"Ann": "yes"}], "known once a second person judges pairs that Ann has judged"),
        ([{"Ann": "yes"}, {"Bob": "no"}], "known once Ann and Bob have judged the same pairs"),
        ([{"Ann": "yes", "Bob": "yes"}] * 3, "the same answer on 100%; Cohen's κ is not defined"),
        ([{"Ann": a, "Bob": a} for a in ("yes", "no")], "Cohen's κ is 1.00 (no interval, since they never differ)"),
    ],
)  # fmt: skip
def test_what_agreement_would_need_is_said(said, words):
    answers = Answers("", {(i, 0): one for i, one in enumerate(said)})
    assert words in agreement_words(answers) and bool(words) == bool(agreement_words(answers))
    assert len(agreement_csv(answers).splitlines()) == 1 + (
        len(said) > 0 and all(len(one) == 2 for one in said)
    )
