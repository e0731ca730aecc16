"""The endpoints, for gradio_client and for agents (MCP): what is public, and nothing else is.

Each function here returns the function that Gradio serves: its name, docstring and types are the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np

from xmr.analysis import precision_recall
from xmr.checkpoints import trains_a_loss
from xmr.embedding import kind_of_data
from xmr.registry import UnknownName
from xmr.selection import DEFAULT, SELECTORS
from xmr.workspace import Query, Workspace
from xmr.workspace.measured import batch, effective, evidence, hard_negatives, loss_of_run, suspects
from xmr.workspace.pages import Page, holder

MAX_K = 1000
MAX_BATCH = 256


def search(workspace: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /search."""

    def search(query: str, runs: list[str], k: int = 10) -> dict[str, Any]:
        """Find the visuals of the test split that fit a text best, once per run.

        Args:
            query: What the visual should show. If it reads like a caption of the split, matches are known.
            runs: Names of the runs to ask, as /runs lists them; an empty list asks all of the first page.
            k: How many results per run, 1 to 1,000.

        Returns:
            {"runs": {run: {"results": [{"id", "score", "rank", "first_rank", "relevant"}]}}}. first_rank is the
            rank in the first stage of a run that re-ranks, else null. relevant is true for an annotated or true
            match, false for a known non-match, null where it is not known.
        """
        if not query.strip():
            raise gr.Error("The query is empty.")
        if not 1 <= k <= MAX_K:
            raise gr.Error(f"k must be 1 to {MAX_K}, found {k}.")
        try:
            columns = []
            for name in dict.fromkeys(runs) or workspace.runs:
                held = holder(name, workspace, pages)
                columns += held.search(Query(text=query), [held.run(name).name], "test", "t2v", k)
            if faults := [f"{column.run}: {column.fault}" for column in columns if column.fault]:
                raise ValueError("; ".join(faults))
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        relevant = {"annotated": True, "true": True, "neither": False, "unknown": None}
        return {
            "runs": {
                column.run: {
                    "results": [
                        {
                            "id": result.id,
                            "score": round(result.score, 6),
                            "rank": result.rank,
                            "first_rank": result.first_rank,
                            "relevant": relevant[result.status],
                        }
                        for result in column.results
                    ]
                }
                for column in columns
            }
        }

    return search


def runs(workspace: Workspace, pages: Sequence[Page] = ()) -> Callable[..., list[dict[str, Any]]]:
    """The function behind the endpoint /runs."""

    def runs() -> list[dict[str, Any]]:
        """List the runs: name, loss, matcher, dataset, kind of data ("image" or "clip") and metrics of each, and why one
        cannot be compared with the others of its dataset, as far as that is known before its page is opened."""
        kept = [(run, "") for run in workspace.runs.values()]
        further = [(run, "") for page in pages[1:] for run in page.runs.values()]
        return [
            {
                "name": run.name,
                "loss": run.config.loss,
                "loss_params": dict(run.config.loss_params),
                "matcher": run.config.matcher if trains_a_loss(run) else "",
                "dataset": run.config.dataset,
                "kind": kind_of_data(run),
                "metrics": run.metrics,
                "comparable": not reason,
                "reason": reason,
            }
            for run, reason in (*kept, *workspace.apart.values(), *further)
        ]

    return runs


def pair_weights(first: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /pair_weights."""

    def pair_weights(run: str, batch_seed: int = 0, batch_size: int = 32) -> dict[str, Any]:
        """Measure how much each pair of one test batch weighs in the loss of a run.

        Args:
            run: Name of the run, as /runs lists them.
            batch_seed: Which batch: the same seed picks the same pairs for every run.
            batch_size: Number of pairs, 2 to 256.

        Returns:
            {"run", "loss", "parameters", "visuals": [id], "captions": [text], "scores", "weights", "positives",
            "negatives", "suspected"}; the last five are matrices, rows visuals and columns captions. A weight is
            d loss / d score of the mean over both directions and all queries: positive pushes the pair apart.
        """
        if not 2 <= batch_size <= MAX_BATCH:
            raise gr.Error(f"batch_size must be 2 to {MAX_BATCH}, found {batch_size}.")
        if batch_seed < 0:
            raise gr.Error(f"batch_seed must not be negative, found {batch_seed}.")
        try:
            workspace = holder(run, first, pages)
            loss, hyper = loss_of_run(workspace, run), effective(workspace, run)
            pairs, visuals, texts = batch(workspace, run, "test", loss, hyper, batch_seed, batch_size)
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        data = workspace.dataset("test")
        return {
            "run": run,
            "loss": loss,
            "parameters": hyper,
            "visuals": [data.visual_ids[i] for i in visuals],
            "captions": [data.captions[i] for i in texts],
            "scores": pairs.scores.astype(float).round(6).tolist(),
            "weights": [[float(f"{w:.6g}") for w in row] for row in pairs.weights],
            "positives": pairs.positives.tolist(),
            "negatives": pairs.negatives.tolist(),
            "suspected": pairs.suspected.tolist(),
        }

    return pair_weights


def false_negatives(first: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /false_negatives."""

    def false_negatives(run: str, selector: str = DEFAULT, limit: int = 20) -> dict[str, Any]:
        """List the hardest negatives of a run that are probably matches, heaviest first (test split, text to visual).

        Args:
            run: Name of the run, as /runs lists them.
            selector: Name of the selector that suspects, at its default parameters.
            limit: How many pairs at most, 1 to 500.

        Returns:
            {"run", "selector", "parameters", "pairs": [{"query", "query_id", "candidate_id", "score", "weight", "rank",
            "evidence", "nearest_caption", "truth"}], "examined", "suspected", "precision", "recall", "precision_of_all",
            "informedness"}. truth and the last four are null where they aren't known; these are of all suspected, not of
            the listed: precision_of_all is that of suspecting every examined pair, and informedness is recall less the
            share of the others that is suspected, 0 for suspecting all or by chance.
        """
        if not 1 <= limit <= 500:
            raise gr.Error(f"limit must be 1 to 500, found {limit}.")
        try:
            params = SELECTORS[selector].defaults
            workspace = holder(run, first, pages)
            workspace.run(run)
            found = hard_negatives(workspace, run, "test", "t2v")
            nearest, near = evidence(workspace, run, "test", "t2v")
            flagged = suspects(workspace, run, "test", "t2v", selector, params)
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        data = workspace.dataset("test")
        measured = precision_recall(flagged, found.truth)
        return {
            "run": run,
            "selector": selector,
            "parameters": params,
            "pairs": [
                {
                    "query": data.captions[found.query[i]],
                    "query_id": f"{data.visual_ids[data.visual_of_text[found.query[i]]]}#{found.query[i]}",
                    "candidate_id": data.visual_ids[found.candidate[i]],
                    "score": round(float(found.score[i]), 6),
                    "weight": float(f"{found.weight[i]:.6g}"),
                    "rank": int(found.rank[i]),
                    "evidence": None if np.isnan(near[i]) else round(float(near[i]), 6),
                    "nearest_caption": data.captions[nearest[i]] if nearest[i] >= 0 else None,
                    "truth": None if np.isnan(found.truth[i]) else bool(found.truth[i] > 0),
                }
                for i in np.flatnonzero(flagged)[:limit]
            ],
            "examined": len(found),
            "suspected": int(flagged.sum()),
            "precision": measured.precision,
            "recall": measured.recall,
            "precision_of_all": measured.base_rate,
            "informedness": measured.informedness,
        }

    return false_negatives
