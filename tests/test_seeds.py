"""Runs that differ by their seed alone, seen as one: names, figures, intervals, tests, and back to each by itself."""

import numpy as np
import pytest
from scipy import stats

from tests import tiny
from tests.viewed import see
from xmr import embedding
from xmr.checkpoints import list_runs
from xmr.core import DIRECTIONS
from xmr.metrics import headline
from xmr.views import TABS
from xmr.workspace import Workspace
from xmr.workspace.histories import training
from xmr.workspace.results import compared, estimates, query_values, results
from xmr.workspace.seeds import folded, seen_as

GROUP, OTHER = "info_nce (5 seeds)", "siglip (3 seeds)"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    for seed in range(5):
        tiny.fit(tiny.config(seed=seed, epochs=2), folder / f"info_nce-seed{seed}")
    for seed in (0, 1, 7):
        tiny.fit(tiny.config(seed=seed, epochs=2, loss="siglip"), folder / f"siglip-{seed}")
    tiny.fit(tiny.config(loss="max_of_hinges"), folder / "max_of_hinges")
    runs, faults = list_runs(folder)
    assert not faults
    return Workspace.of(runs, "tiny", load=tiny.dataset, embedder=embedding, checkpoints=folder)


@pytest.fixture(scope="module")
def one(workspace):
    return folded(workspace)


def test_runs_that_differ_by_their_seed_alone_are_one(workspace, one):
    assert list(one.runs) == [GROUP, "max_of_hinges", OTHER]
    assert one.each(GROUP) == [f"info_nce-seed{seed}" for seed in range(5)] and one.each("max_of_hinges") == [
        "max_of_hinges"
    ]
    scores = {run: headline(workspace.run(run).metrics["validation"])[1] for run in one.each(GROUP)}
    assert scores[one.run(GROUP).middle.name] == np.median([*scores.values()])
    assert folded(one) is one and one.run("siglip-7") is workspace.run("siglip-7")
    assert seen_as(one, "siglip-7") == [OTHER] and seen_as(workspace, OTHER) == [
        "siglip-0",
        "siglip-1",
        "siglip-7",
    ]
    assert seen_as(one, "nothing") == [] and seen_as(workspace, "siglip-0") == ["siglip-0"]


def test_other_settings_and_one_seed_twice_are_no_group(tmp_path):
    for name, changes in {"a": {}, "b": {"lr": 0.01, "seed": 1}, "c": {}}.items():
        tiny.fit(tiny.config(epochs=1, **changes), tmp_path / name)
    runs, _ = list_runs(tmp_path)
    workspace = Workspace.of(runs, "tiny", load=tiny.dataset, embedder=embedding)
    assert folded(workspace) is workspace


def test_figures_are_means_over_seeds_whose_intervals_hold_both(workspace, one):
    for direction in DIRECTIONS:
        each = [query_values(workspace, run, "test", direction) for run in one.each(GROUP)]
        for title, found in estimates(one, GROUP, "test", direction).items():
            means = [float(np.mean(values[title])) for values in each]
            assert found.mean == pytest.approx(np.mean(means))
            low, high = stats.t.interval(0.95, 4, np.mean(means), stats.sem(means))
            assert found.low <= max(low, 0) + 1e-9 and found.high >= min(high, 1) - 1e-9
            own = np.mean([values[title] for values in each], axis=0)
            assert own.mean() == pytest.approx(found.mean)


def test_two_groups_are_tested_over_visuals_and_over_shared_seeds(workspace, one):
    found = compared(one, OTHER, GROUP, "test", "t2v", "R@1")
    means = {run: np.mean(query_values(workspace, run, "test", "t2v")["R@1"]) for run in workspace.runs}
    shared = [0, 1]
    over_seeds = stats.ttest_rel(
        [means[f"info_nce-seed{seed}"] for seed in shared], [means[f"siglip-{seed}"] for seed in shared]
    ).pvalue
    assert found.p >= over_seeds - 1e-9 and "2 seeds" in found.test
    assert found.difference == pytest.approx(
        estimates(one, GROUP, "test", "t2v")["R@1"].mean - estimates(one, OTHER, "test", "t2v")["R@1"].mean
    )
    alone = compared(one, "max_of_hinges", GROUP, "test", "t2v", "R@1")
    assert "seeds" not in alone.test  # one run has no other seed to ask


def test_a_query_has_the_rank_that_more_than_half_of_the_seeds_reach(workspace, one):
    ranks = np.stack([workspace.ranks(run, "test", "t2v") for run in one.each(GROUP)])
    for k in (1, 5, 10):
        most = (ranks <= k).sum(0) > len(ranks) / 2
        assert ((one.ranks(GROUP, "test", "t2v") <= k) == most).all()


def test_curves_of_training_have_the_range_of_the_seeds(workspace, one):
    found = training(one, [GROUP, "max_of_hinges"])
    for at, line in enumerate(found.scores[GROUP]):
        each = [headline(workspace.run(run).history[at])[1] for run in one.each(GROUP)]
        assert (line["low"], line["high"]) == (min(each), max(each)) and line["score"] == pytest.approx(
            np.mean(each)
        )
    assert all("low" not in line for line in found.scores["max_of_hinges"])


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_shows_seeds_as_one_and_each_by_itself(workspace, tab):
    seen = see(workspace, tab=tab, runs=["siglip-7", "max_of_hinges"], baseline="siglip-1")
    assert (
        not seen.said
        and list(seen.state["runs"]) == [OTHER, "max_of_hinges"]
        and seen.state["baseline"] == OTHER
    )
    each = see(workspace, tab=tab, runs=[OTHER, "max_of_hinges"], seeds="each")
    assert not each.said and list(each.state["runs"]) == ["siglip-0", "siglip-1", "siglip-7", "max_of_hinges"]


def test_results_names_the_seeds_and_errors_counts_them(workspace, one):
    seen = see(workspace, tab="results", runs=[GROUP, OTHER], direction="t2v")
    assert {row["name"] for row in seen.value("results-first")["rows"]} >= {GROUP, OTHER}
    found = results(one, [GROUP, OTHER], "test", "t2v", GROUP)
    assert found.counts == {GROUP: 5, OTHER: 3} and not found.repeats
    errors = see(workspace, tab="errors", a=GROUP, b="max_of_hinges", runs=[GROUP], at=1)
    ranks = np.stack([workspace.ranks(run, "test", "t2v") for run in one.each(GROUP)])
    for row in errors.value("errors-list")["rows"]:
        badge = next(badge["text"] for badge in row["badges"] if badge["kind"] == "seeds")
        assert badge == f"A right on {int((ranks[:, row['index']] <= 1).sum())} of 5 seeds"


def test_a_folder_without_such_runs_has_no_choice(tmp_path):
    tiny.fit(tiny.config(epochs=1), tmp_path / "info_nce")
    workspace = Workspace.of(list_runs(tmp_path)[0], "tiny", load=tiny.dataset, embedder=embedding)
    from tests.viewed import pages_of
    from xmr.views import view

    assert "seeds" not in [block["id"] for block in view(pages_of(workspace), {})["side"]]
