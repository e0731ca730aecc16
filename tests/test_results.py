"""Results as plain data and words: against metrics computed elsewhere, slow loops and formulas."""

import csv
import io
import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.fake_workspace import (
    RUNS,
    WORDS,
    make_classes,
    make_clips,
    make_many,
    make_other,
    make_pictures,
    make_workspace,
)
from xmr.analysis import PairedQueries, errors, paired_queries
from xmr.captions import words_of
from xmr.core import DIRECTIONS
from xmr.embedding import Frozen
from xmr.experiments.intervals import holm
from xmr.metrics import bootstrap_interval, evaluate_embeddings, evaluate_scores, flips, headline, summary
from xmr.workspace import ranks, result_words
from xmr.workspace import results as results_module
from xmr.workspace.histories import training
from xmr.workspace.protocol import RUN_TITLES, data_facts, data_warnings, run_cells
from xmr.workspace.result_words import (
    chance,
    csv_of,
    difference_cells,
    estimate_cells,
    estimate_titles,
    latex_of,
)
from xmr.workspace.results import (
    Difference,
    Estimate,
    Lead,
    Results,
    ZeroShot,
    compared,
    encoder_values,
    measured,
    query_values,
    results,
    total,
)

NAMES = list(RUNS)
KEYS = {
    "R@1": "recall_at_1", "R@5": "recall_at_5", "R@10": "recall_at_10", "mAP": "map", "true R@1": "true_recall_at_1",
    "true mAP@R": "true_map_at_r",
}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, cache_folder):
    return make_workspace(tmp_path_factory.mktemp("checkpoints"), broken=False)


def evaluated(workspace, run, split):
    """What the metrics say of the run, by another way."""
    data = workspace.dataset(split)
    groups = data.visual_group, data.text_group
    if not workspace.run(run).scores_pairs:
        return evaluate_embeddings(
            *workspace.embeddings(run, split), *groups, data.truth, classes=data.classes
        )
    return evaluate_scores(workspace.pair_scores(run, split), *groups, data.truth, classes=data.classes)


# ---- what is measured ------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("make", [None, make_clips, make_pictures, make_classes])
def test_means_of_the_queries_are_the_metrics(make, split, tmp_path, cache_folder):
    workspace = (
        make_other(tmp_path, make, {"siglip": "cross_attention"}) if make else make_workspace(tmp_path, False)
    )
    if make and split != "test":
        workspace.runs.pop("siglip")  # what the fake pair scorer says is stored for the test split only
    for name in workspace.runs:
        metrics = evaluated(workspace, name, split)
        for direction in DIRECTIONS:
            values = query_values(workspace, name, split, direction)
            assert ("mAP" in values) == (make is make_classes)
            assert ("true R@1" in values) == (make in (None, make_clips))
            for title, one in values.items():
                assert np.nanmean(one) == pytest.approx(metrics[f"{direction}/{KEYS[title]}"]), title
        assert total(workspace, name, split) == (
            headline(metrics)[0],
            pytest.approx(headline(metrics)[1]),
        )


def slow_interval(values, visuals, resamples=3000):
    """The bootstrap, visual by visual."""
    rng, own = np.random.default_rng(11), [values[visuals == one] for one in np.unique(visuals)]
    means = sorted(
        np.concatenate([own[i] for i in rng.integers(0, len(own), len(own))]).mean() for _ in range(resamples)
    )
    return means[int(0.025 * resamples)], means[int(0.975 * resamples)]


@pytest.mark.parametrize("each", ["one", "three", "varying"])
@pytest.mark.parametrize("levels", [2, 3, 200])
def test_intervals_are_those_of_a_slow_bootstrap_of_the_visuals(levels, each, monkeypatch):
    rng = np.random.default_rng(levels)
    counts = {"one": np.ones(120, int), "three": np.full(120, 3), "varying": rng.integers(1, 5, 120)}[each]
    visuals = rng.permutation(np.repeat(np.arange(120), counts))
    values = (rng.integers(0, levels, 120)[visuals] + rng.integers(0, levels, len(visuals))) / (
        2 * levels - 2
    )
    low, high = bootstrap_interval(np.append(values, np.nan), np.append(visuals, 7), seed=2)
    expected = slow_interval(values, visuals)
    width = expected[1] - expected[0]
    assert (low, high) == pytest.approx(expected, abs=0.08 * width)
    if levels == 200:
        monkeypatch.setattr(summary, "KEPT", 0)  # too many to keep: drawn anew, the same ones
        assert bootstrap_interval(values, visuals, seed=2) == pytest.approx((low, high), abs=1e-6)


def test_flips_that_are_kept_are_those_that_are_drawn(monkeypatch):
    rng = np.random.default_rng(4)
    a = rng.random(300)
    b = a + rng.normal(0.01, 0.1, 300)
    kept = paired_queries(a, b, seed=3).p
    monkeypatch.setattr(flips, "KEPT", 0)
    assert paired_queries(a, b, seed=3).p == kept
    assert 1 / (flips.FLIPS + 1) < kept < 1


def test_results_hold_estimates_and_corrected_tests(workspace):
    found = results(workspace, ["siglip", *NAMES], "test", "v2t", "siglip")
    assert list(found.estimates) == ["siglip", "info_nce", "max_of_hinges"]
    assert list(found.tests) == ["info_nce", "max_of_hinges"]
    assert found.titles == ["R@1", "R@5", "R@10", "true R@1", "true mAP@R"]
    for title in found.titles:
        family = [("siglip", name) for name in found.tests]
        best = found.lead.best
        if title == "R@1" and best != "siglip":
            family += [(best, name) for name in NAMES if name not in (best, "siglip")]
        one = [compared(workspace, *pair, "test", "v2t", title) for pair in family]
        assert found.comparisons[title] == len(family)
        for (first, name), pair, p in zip(family, one, holm([pair.p for pair in one]), strict=True):
            if first != "siglip":
                continue
            tested = found.tests[name][title]
            assert tested == Difference(pair, p)
            gap = found.estimates[name][title].mean - found.estimates["siglip"][title].mean
            assert tested.found.difference == pytest.approx(gap)
            assert tested.sure == (p < 0.05)
    for name, median in found.medians.items():
        assert median == np.median(workspace.ranks(name, "test", "v2t"))
    assert results(workspace, ["siglip"], "test", "v2t", "siglip").tests == {}


def test_the_leader_has_the_best_mean_and_a_pair_has_one_p(tmp_path, cache_folder):
    many = make_many(tmp_path)
    found = results(many, list(many.runs), "test", "t2v", "info_nce")
    shown = found.lead
    means = {name: one["R@1"].mean for name, one in found.estimates.items()}
    assert means[shown.best] == max(means.values()) and shown.best != "info_nce"
    assert [means[name] for name in shown.others] == sorted(
        (mean for name, mean in means.items() if name != shown.best), reverse=True
    )
    assert shown.alike == [name for name, one in shown.others.items() if one.p >= 0.05]
    # The pair of the best and the baseline is in the sentence and in the table.
    said, told = shown.others["info_nce"], found.tests[shown.best]["R@1"]
    assert said.p == told.p and said.found.p == told.found.p
    assert said.found.difference == -told.found.difference and said.found.low == -told.found.high
    assert (said.found.better, said.found.worse) == (told.found.worse, told.found.better)
    pairs = {frozenset((one, name)) for one in ("info_nce", shown.best) for name in means if name != one}
    assert found.comparisons == {**dict.fromkeys(found.titles, len(means) - 1), "R@1": len(pairs)}
    raw = [compared(many, *sorted(pair), "test", "t2v", "R@1").p for pair in pairs]
    assert sorted({one.p for one in (*shown.others.values(), *(row["R@1"] for row in found.tests.values()))}) == (
        sorted({*holm(raw)})
    )  # fmt: skip
    words = result_words.difference_words(found)
    assert f"for {len(means) - 1} comparisons in each column, in R@1 for {len(pairs)}" in words
    assert f"with {shown.best}, of which the sentence" in words


def test_intervals_and_tests_of_captions_are_drawn_by_picture(workspace):
    """Doubling every caption leaves what is known, so intervals and p must not change."""
    values = query_values(workspace, "siglip", "test", "t2v")["R@1"]
    visuals = workspace.dataset("test").visual_of_text
    found = results(workspace, NAMES, "test", "t2v", "siglip")
    assert found.estimates["siglip"]["R@1"] == Estimate(*errors.mean_interval(values, visuals))
    test = found.tests["info_nce"]["R@1"].found
    assert (test.queries, test.visuals) == (120, 60)
    other = query_values(workspace, "info_nce", "test", "t2v")["R@1"]
    twice = paired_queries(values.repeat(2), other.repeat(2), visuals.repeat(2))
    assert twice.p == pytest.approx(test.p) == pytest.approx(paired_queries(values, other, visuals).p)
    assert "sign flips by visual" in test.test


def test_runs_are_measured_as_time_allows_and_faults_are_told(tmp_path, cache_folder):
    workspace = make_workspace(tmp_path, broken=False)

    def embed(run, dataset, plain=workspace.embedder.embed_dataset):
        if run.name == "max_of_hinges":
            raise OSError("the encoder's folder is missing")
        return plain(run, dataset)

    workspace.embedder.embed_dataset = embed
    reason = {"max_of_hinges": "the encoder's folder is missing"}
    names = ["max_of_hinges", "siglip", "info_nce"]
    assert measured(workspace, names, "validation", -1) == (["siglip"], reason, ["info_nce"])
    assert measured(workspace, names, "validation", -1) == (["siglip", "info_nce"], reason, [])
    found = results(workspace, names, "validation", "t2v", "siglip")
    assert (found.faults, found.pending, list(found.tests)) == (reason, [], ["info_nce"])
    # Without its baseline nothing is compared, and without any run nobody leads.
    assert results(workspace, names, "validation", "t2v", "max_of_hinges").tests == {}
    nothing = results(workspace, names[:1], "validation", "t2v", "max_of_hinges")
    assert (nothing.titles, nothing.total, nothing.lead) == ([], "", None)


def test_a_large_split_is_measured_aside(tmp_path, cache_folder, monkeypatch):
    monkeypatch.setattr(ranks, "LOOKED_AT", 60 * 120 - 1)
    workspace = make_workspace(tmp_path, broken=False)
    go_on, plain = threading.Event(), workspace.ranks

    def wait(*arguments):
        assert go_on.wait(60)
        return plain(*arguments)

    monkeypatch.setattr(workspace, "ranks", wait)
    names = ["siglip", "info_nce"]
    assert measured(workspace, names, "test", 60) == ([], {}, names)
    assert measured(workspace, names, "test", 60) == ([], {}, names)
    threads = [one for one in threading.enumerate() if one.name == "measuring test"]
    assert len(threads) == 1
    go_on.set()
    threads[0].join(60)
    assert measured(workspace, names, "test", 60) == (names, {}, [])


def test_the_training_is_read_from_the_histories(workspace):
    found = training(workspace, NAMES)
    noise = workspace.run("siglip").noise
    assert found.figure == "rsum"
    assert found.scores["siglip"] == [
        {"epoch": 1, "score": 101 - noise},
        {"epoch": 2, "score": 102 - noise},
    ]
    assert found.losses["siglip"] == [{"epoch": 1, "share": 100}, {"epoch": 2, "share": 50}]


# ---- words -----------------------------------------------------------------------------------------------


def made(difference, p):
    found = PairedQueries(
        0.5, 0.5 + difference, difference, difference - 0.01, difference + 0.01, 3, 1, 100, 100, p, ""
    )
    return Difference(found, p)


def shown_results(tests, **changes):
    of = {"a": {"R@1": Estimate(0.5, 0.45, 0.55)}, "b_1": {"R@1": Estimate(0.6, 0.55, 0.65)}}
    whole = Results(
        "test", "t2v", "a", ["R@1"], of, {"a": 3.0, "b_1": 2.5}, "rsum", {"a": 200.0, "b_1": 210.0}, tests
    )
    return replace(whole, **changes)


@pytest.mark.parametrize(
    ("difference", "p", "text", "more"),
    [
        (0.0123, 0.0004, "+1.2 ↑", "+0.2 … +2.2,\nbetter, p < 0.001"),
        (-0.0123, 0.0306, "−1.2 ↓", "−2.2 … −0.2,\nworse, p 0.031"),
        (0.004, 0.05, "+0.4", "−0.6 … +1.4,\nalike, p 0.050"),
    ],
)
def test_differences_are_told_by_sign_arrow_and_word(difference, p, text, more):
    (cell,) = difference_cells(shown_results({"b_1": {"R@1": made(difference, p)}}), "b_1")
    assert cell == (text, more, difference)


def test_cells_stand_below_their_titles():
    shown = shown_results({})
    assert estimate_titles(shown) == ["R@1", "median rank", "rsum"]
    assert [cell[:2] for cell in estimate_cells(shown, "b_1")] == [
        ("60.0", "55.0 – 65.0"), ("2.5", ""), ("210.0", "")
    ]  # fmt: skip
    classes = shown_results({}, total="mAP", titles=["R@1", "mAP"])
    assert estimate_titles(classes)[-1] == "mAP, both"
    assert {*result_words.MEANS} >= {*estimate_titles(shown), *estimate_titles(classes), *KEYS}


def test_the_finding_says_whether_the_lead_is_more_than_chance():
    def words(lead, **changes):
        return result_words.lead_words(
            shown_results({}, lead=lead, **{"comparisons": {"R@1": 3}} | changes), "image"
        )

    sure, unsure = made(-0.1, 0.001), made(-0.02, 0.4)
    seeds = {"a": 0, "b_1": 0, "c": 0, "d": 0}
    assert words(Lead("R@1", "b_1", {"a": sure}), seeds=seeds, comparisons={"R@1": 1}) == (
        "b_1 is the best of 2 runs by R@1 on this seed: 60.0% (55.0 – 65.0). Its lead of 10.0 points over the next one, a, "
        "is more than chance on this seed (p 0.001: paired test by image)."
    )
    text = words(Lead("R@1", "b_1", {"a": unsure, "c": unsure, "d": sure}), seeds=seeds | {"d": 1})
    assert "best of 2 runs by R@1 on these seeds:" in text
    assert (
        "the next one, a, may be chance (p 0.400: paired test by image, Holm's correction for 3 comparisons)"
        in text
    )
    assert "Nor can the test tell it from c." in text
    assert text.endswith("better than the remaining one by more than chance on these seeds.")
    assert "a, has the same mean." in words(Lead("R@1", "b_1", {"a": made(0.0, 1.0)}))
    assert "seed" not in words(Lead("R@1", "b_1", {"a": sure}))  # nothing was trained
    assert words(Lead("R@1", "a", {})) == "a: R@1 is 50.0% (45.0 – 55.0)."
    assert "could be measured" in words(None, estimates={}, faults={"a": "no encoder"})
    assert chance(0.00099) == "p < 0.001"
    assert chance(0.001) == "p 0.001"


@pytest.mark.parametrize(
    ("least", "words"), [(0.52, "every seed of a is above"), (0.44, "not every seed of a is above")]
)
def test_settings_with_several_seeds_are_told_by_their_means(least, words, workspace):
    means = {"a": 0.56, "a-1": least, "b": 0.40, "b-1": 0.50}
    shown = shown_results(
        {}, lead=Lead("R@1", "a", {}), repeats={"b": ["b", "b-1"], "a": ["a", "a-1"]},
        estimates={name: {"R@1": Estimate(mean, mean, mean)} for name, mean in means.items()},
    )  # fmt: skip
    text = result_words.lead_words(shown, "image")
    assert (
        f"mean and range: a {50 * (0.56 + least):.1f}% ({100 * least:.1f} – 56.0, 2 seeds), b 45.0% (40.0 – 50.0, 2 seeds)"
        in text
    )
    assert words in text
    one = workspace.runs["siglip"]
    workspace.runs |= {
        f"siglip-{seed}": replace(one, name=f"siglip-{seed}", config=replace(one.config, seed=seed))
        for seed in (1, 2)
    }
    try:
        assert results_module.repeats([*workspace.runs.values()]) == {
            "siglip": ["siglip", "siglip-1", "siglip-2"]
        }
    finally:
        for seed in (1, 2):
            del workspace.runs[f"siglip-{seed}"]


@pytest.mark.parametrize(("mean", "end"), [(0.3, "."), (0.62, ": no run does better.")])
def test_the_finding_tells_what_the_frozen_encoder_reaches(mean, end):
    frozen = ZeroShot({"R@1": Estimate(mean, mean - 0.05, mean + 0.05)}, 2.0, 180.0)
    shown = shown_results(
        {},
        lead=Lead("R@1", "b_1", {"a": made(-0.1, 0.001)}),
        zero_shot={"zero-shot: tiny": frozen},
        comparisons={"R@1": 1},
    )
    interval = f"{100 * mean:.1f}% ({100 * mean - 5:.1f} – {100 * mean + 5:.1f})"
    assert result_words.lead_words(shown, "image").endswith(
        f"The frozen encoder itself (zero-shot: tiny) reaches {interval}{end}"
    )
    assert [cell.text for cell in estimate_cells(shown, "zero-shot: tiny")] == [
        f"{100 * mean:.1f}",
        "2",
        "180.0",
    ]


# ---- the frozen encoder ----------------------------------------------------------------------------------


def with_encoder(root, text=True, width=9):
    """A workspace whose encoder reads both sides: pictures by what they show, captions by the words in them."""
    workspace = make_workspace(root, broken=False)

    def features(data, encoder):
        kinds = zip(data.columns["colour"], data.columns["shape"], strict=True)
        visual = np.array([[float(word in kind) for word in WORDS] for kind in kinds], np.float32)
        said = np.array([[float(word in one) for word in WORDS] for one in data.captions], np.float32)
        return Frozen(visual, said[:, :width] if text else None, encoder, "")

    workspace.embedder.frozen_features = features
    return workspace, features


def test_the_frozen_encoder_has_a_row_of_its_own(tmp_path, cache_folder):
    workspace, features = with_encoder(tmp_path)
    data, frozen = workspace.dataset("test"), features(workspace.dataset("test"), "shapes")
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (frozen.visual, frozen.text)]
    metrics = evaluate_embeddings(
        *(side.astype(np.float16) for side in unit), data.visual_group, data.text_group, data.truth
    )
    for direction in DIRECTIONS:
        found = results(workspace, NAMES, "test", direction, "siglip")
        ((name, row),) = found.zero_shot.items()
        assert name == "zero-shot: shapes" and name not in found.estimates and name not in found.tests
        for title, one in row.estimates.items():
            assert one.mean == pytest.approx(metrics[f"{direction}/{KEYS[title]}"]), title
        assert (row.median, row.total) == (
            metrics[f"{direction}/median_rank"], pytest.approx(metrics["rsum"])
        )  # fmt: skip
        assert name in csv_of(workspace, found) and name in latex_of(workspace, found)
    hurried = results(workspace, NAMES, "test", "t2v", "siglip", seconds=60)
    assert hurried.zero_shot.keys() == {name} and not hurried.awaited  # in the background, and done by now


@pytest.mark.parametrize(
    ("text", "width", "why"), [(False, 9, "nothing says that both sides lie in one space"), (True, 5, "9 and 5 dimensions")]
)  # fmt: skip
def test_no_frozen_row_without_one_space(text, width, why, tmp_path, cache_folder):
    workspace, _ = with_encoder(tmp_path, text, width)
    found = results(workspace, NAMES, "test", "t2v", "siglip")
    assert found.zero_shot == {} and why in found.no_zero_shot
    assert f"No zero-shot row: {found.no_zero_shot}." in result_words.protocol_sentence(workspace, found)


def test_an_encoder_that_fails_is_asked_once_and_others_are_not_waited_for(tmp_path, cache_folder):
    workspace, features = with_encoder(tmp_path)
    asked, go_on = [], threading.Event()

    def slow(data, encoder):
        asked.append(encoder)
        assert go_on.wait(60)
        raise OSError("the hub is not there")

    workspace.embedder.frozen_features = slow
    found = results(workspace, NAMES, "test", "t2v", "siglip", seconds=60)
    assert found.awaited and found.zero_shot == {} and found.pending == []
    assert "own row, zero-shot, follows" in result_words.protocol_sentence(workspace, found)
    go_on.set()
    for _ in range(3):
        found = results(workspace, NAMES, "test", "t2v", "siglip")
        assert (found.no_zero_shot, found.awaited) == ("the hub is not there", False)
    assert asked == ["shapes"]
    workspace.embedder.frozen_features = features
    assert (
        "not those that the runs were trained on" in encoder_values(workspace, "shapes", "other", "test")[1]
    )


def test_files_hold_the_numbers_and_no_formulas(tmp_path, cache_folder):
    workspace = make_workspace(tmp_path, broken=False)
    for name in ('=HYPERLINK("http://x")', "a_b & 50%"):
        workspace.runs[name] = replace(workspace.runs["siglip"], name=name)
    names = ["info_nce", '=HYPERLINK("http://x")', "a_b & 50%"]
    shown = results(workspace, names, "test", "t2v", "info_nce")
    lines = list(csv.DictReader(io.StringIO(csv_of(workspace, shown))))
    assert len(lines) == len(names) * (len(shown.titles) + 2)
    assert {line["run"] for line in lines} == {"info_nce", '\'=HYPERLINK("http://x")', "a_b & 50%"}
    by_key = {(line["run"], line["metric"]): line for line in lines}
    one, test = shown.estimates["a_b & 50%"]["R@5"], shown.tests["a_b & 50%"]["R@5"]
    line = by_key["a_b & 50%", "R@5"]
    assert float(line["mean"]) == pytest.approx(100 * one.mean, abs=1e-3)
    assert float(line["difference_low"]) == pytest.approx(100 * test.found.low, abs=1e-3)
    assert (float(line["p_holm"]), line["queries"]) == (pytest.approx(test.p, rel=1e-4), "120")
    assert by_key["info_nce", "R@5"]["p"] == ""
    assert float(by_key["info_nce", "rsum"]["mean"]) == pytest.approx(shown.totals["info_nce"], abs=1e-2)
    text = latex_of(workspace, shown)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [row.count("&") - row.count(r"\&") for row in rows] == [len(estimate_titles(shown))] * 4
    assert rows[1].startswith("info\\_nce (baseline) & ")
    assert rows[3].startswith(r"a\_b \& 50\% & ")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


# ---- the protocol ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "size", "each"),
    [
        (make_clips, "60 clips and 120 captions", "2 captions for each clip"),
        (make_pictures, "60 query images and 60 gallery images", "1 gallery image for each query image"),
        (make_classes, "60 images and 60 texts", "1 text for each image"),
    ],
)
def test_the_data_are_told_in_their_own_words(make, size, each, tmp_path, cache_folder):
    workspace = make_other(tmp_path, make, {"siglip": "cross_attention"})
    facts = data_facts(workspace, "test")
    assert (facts["size"], facts["per item"]) == (size, each)
    if make is make_clips:
        lengths = [len(words_of(caption)) for caption in workspace.dataset("test").captions]
        assert facts["captions"].startswith(f"{min(lengths)} ") or min(lengths) == max(lengths)
        assert facts["captions"].endswith("words; script: Latin")
    assert ("captions" in facts) == (
        make is make_clips
    )  # words that name pictures or classes are another matter
    assert facts["fingerprint"] == workspace.dataset("test").fingerprint
    assert ("4 class labels" in facts.get("matches", "")) == (make is make_classes)
    assert ("every pair" in facts.get("truth", "")) == (make is make_clips)
    matcher = run_cells(workspace, "siglip")[1]
    assert matcher.text == "cross_attention"
    assert "re-ranks the top 100 of its first stage" in matcher.more
    assert "stage" not in run_cells(workspace, "info_nce")[1].more


def test_what_a_run_is_and_was_trained_with(tmp_path, cache_folder):
    many = make_many(tmp_path)
    assert all(len(run_cells(many, name)) == len(RUN_TITLES) - 1 for name in many.runs)
    assert run_cells(many, "hybrid")[0].text == "mean of 2 runs"
    run = many.runs["siglip"]
    config = replace(
        run.config, selector="top_ranked", suspects="ignore", first_loss="info_nce", first_epochs=3, seed=7,
        verdicts="verdicts.sqlite", batch_size=32, duplicates="positive",
    )  # fmt: skip
    many.runs["siglip"] = replace(run, config=config, loss_values={"scale": 11.5, "bias": -9.25})
    loss, _, encoder, selector, seed, trained = run_cells(many, "siglip")
    assert loss == ("siglip", "scale 11.5, bias -9.25; info_nce for 3 epochs first", loss.number)
    assert encoder.text == "shapes"
    assert selector[:2] == (
        "top_ranked",
        f"suspects: ignore; confirmed pairs: {config.verdicts_as}; duplicates: positive",
    )
    assert seed[:2] == ("7", "80 training pairs")
    assert trained[:2] == ("2 epochs", "best epoch 2, batch 32, lr 0.001")


def test_runs_of_different_data_or_encoders_are_warned_of(workspace, tmp_path):
    assert list(data_warnings(workspace, NAMES, "test")) == []
    other = make_workspace(tmp_path, broken=False)
    run = other.runs["siglip"]
    prints = run.dataset["fingerprints"] | {"train": "0f", "validation": "1f"}
    other.runs["siglip"] = replace(
        run, encoder={"name": "shapes", "hash": "abc"}, dataset=run.dataset | {"fingerprints": prints},
        config=replace(run.config, train_visuals=9, duplicates="ignore"),
    )  # fmt: skip
    told = list(data_warnings(other, NAMES, "validation"))
    for what in (
        "training data",
        "validation data",
        "encoders",
        "numbers of training visuals",
        "uses of duplicates",
    ):
        (one,) = [line for line in told if f"different {what}," in line]
        assert "siglip" in one
    assert told[-1] == "siglip was trained beside another version of the validation split (1f)."
    assert list(data_warnings(other, ["info_nce", "max_of_hinges"], "validation")) == []
