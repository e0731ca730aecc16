"""A journey through several seeds as one run in a browser."""

from __future__ import annotations

from playwright.sync_api import expect

from tests import tiny
from tests.journeys import opened, rest, state_of
from xmr import embedding
from xmr.checkpoints import list_runs
from xmr.workspace import Workspace


def test_seeds_are_one_run_until_somebody_asks_for_each(page, serve, tmp_path):
    for seed in (0, 1):
        tiny.fit(tiny.config(seed=seed, epochs=1), tmp_path / f"info_nce-seed{seed}")
    tiny.fit(tiny.config(loss="siglip", epochs=1), tmp_path / "siglip")
    runs = list_runs(tmp_path)[0]
    workspace = Workspace.of(runs, "tiny", load=tiny.dataset, embedder=embedding, checkpoints=tmp_path)
    with serve(workspace) as url:
        opened(page, url, "results")
        rows = page.locator("#results-first tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.filter(has_text="info_nce (2 seeds)")).to_have_count(1)
        page.get_by_label("each by itself").check()
        expect(rows).to_have_count(3)
        expect(rows.filter(has_text="info_nce-seed1")).to_have_count(1)
        rest(page)
        assert state_of(page)["seeds"] == ["each"]
        page.reload()
        expect(rows).to_have_count(3)
        page.get_by_label("as one run").check()
        expect(rows).to_have_count(2)
        page.locator("#tab-errors").click()
        expect(page.locator("#errors-list .badge.seeds").first).to_contain_text("of 2 seeds")
