"""The endpoints, for gradio_client and for agents (MCP): what is public, and nothing else is.

Each function here returns the function that Gradio serves: its name, docstring and types are the documentation.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from xmr.analysis import precision_recall
from xmr.embedding import kind_of_data
from xmr.limits import BATCH, PAIRS, RESULTS
from xmr.page.host import gr
from xmr.registry import UnknownName
from xmr.selection import DEFAULT, SELECTORS
from xmr.views import given
from xmr.workspace import Column, Query, Workspace
from xmr.workspace.measurements import batch, effective, evidence, hard_negatives, loss_of_run, suspects
from xmr.workspace.pages import Page, holder
from xmr.workspace.public import public, source_name

MAX_SEED = 2**32 - 1
RELEVANT = {"annotated": True, "true": True, "neither": False, "unknown": None}

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def answering(endpoint: Endpoint) -> Endpoint:
    """The same, whatever goes wrong in it told in a sentence, without paths of this server."""

    @functools.wraps(endpoint)
    def answered(*arguments: Any, **options: Any) -> Any:
        try:
            return endpoint(*arguments, **options)
        except (UnknownName, ValueError, OSError) as error:
            raise gr.Error(public(str(error)), print_exception=False) from error
        except Exception as error:
            traceback.print_exc()
            words = f"This failed in the server ({type(error).__name__}); its log says where."
            raise gr.Error(words, print_exception=False) from error

    return answered


def search(workspace: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /search."""

    @answering
    def search(query: str, runs: list[str], k: int = 10) -> dict[str, Any]:
        """Find the visuals of the test split that fit a text best, once per run.

        Args:
            query: What the visual should show, at most 500 characters. If it reads like a caption of the split, matches are known.
            runs: Names of the runs to ask, as /runs lists them; an empty list asks all of the first page.
            k: How many results per run, 1 to 1,000.

        Returns:
            {"runs": {run: {"results": [{"id", "score", "rank", "first_rank", "relevant"}], "fault"}}}. first_rank is
            the rank in the first stage of a run that re-ranks, else null. relevant is true for an annotated or true
            match, false for a known non-match, null where it is not known. fault says why a run has no results, else
            null.
        """
        text = given.text("query", query)
        asked, most = given.names("runs", runs) or list(workspace.runs), given.whole("k", k, 1, RESULTS.now)
        columns = [_column(name, Query(text=text), most, workspace, pages) for name in asked]
        if all(isinstance(column, UnknownName) for column in columns):
            raise columns[0]
        return {
            "runs": {
                name: {"results": [], "fault": public(str(column))}
                if isinstance(column, UnknownName)
                else {
                    "results": [
                        {
                            "id": result.id,
                            "score": round(result.score, 6),
                            "rank": result.rank,
                            "first_rank": result.first_rank,
                            "relevant": RELEVANT[result.status],
                        }
                        for result in column.results
                    ],
                    "fault": public(column.fault) or None,
                }
                for name, column in zip(asked, columns, strict=True)
            }
        }

    return search


def _column(
    run: str, query: Query, k: int, workspace: Workspace, pages: Sequence[Page]
) -> Column | UnknownName:
    """What one run answers; what it can't is said in its column, and a name that no run has is given back."""
    try:
        held = holder(run, workspace, pages)
        return held.search(query, [held.run(run).name], "test", "t2v", k)[0]
    except UnknownName as error:
        return error
    except (ValueError, OSError) as error:
        return Column(run, [], None, fault=str(error))
    except Exception as error:  # its dataset may be anything
        traceback.print_exc()
        return Column(run, [], None, fault=f"{run} failed here ({type(error).__name__})")


def runs(workspace: Workspace, pages: Sequence[Page] = ()) -> Callable[..., list[dict[str, Any]]]:
    """The function behind the endpoint /runs."""

    @answering
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
                "matcher": run.config.matcher,
                "dataset": source_name(run.config.dataset),
                "kind": kind_of_data(run),
                "metrics": run.metrics,
                "comparable": not reason,
                "reason": public(reason),
            }
            for run, reason in (*kept, *workspace.apart.values(), *further)
        ]

    return runs


def pair_weights(first: Workspace, pages: Sequence[Page] = ()) -> Callable[..., dict[str, Any]]:
    """The function behind the endpoint /pair_weights."""

    @answering
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
        name = given.text("run", run)
        seed = given.whole("batch_seed", batch_seed, 0, MAX_SEED)
        size = given.whole("batch_size", batch_size, 2, BATCH.now)
        workspace = holder(name, first, pages)
        loss, hyper = loss_of_run(workspace, name), effective(workspace, name)
        pairs, visuals, texts = batch(workspace, name, "test", loss, hyper, seed, size)
        data = workspace.dataset("test")
        return {
            "run": name,
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

    @answering
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
        name, most = given.text("run", run), given.whole("limit", limit, 1, PAIRS.now)
        params = SELECTORS[given.text("selector", selector)].defaults
        workspace = holder(name, first, pages)
        workspace.run(name)
        found = hard_negatives(workspace, name, "test", "t2v")
        nearest, near = evidence(workspace, name, "test", "t2v")
        flagged = suspects(workspace, name, "test", "t2v", selector.strip(), params)
        data = workspace.dataset("test")
        measured = precision_recall(flagged, found.truth)
        return {
            "run": name,
            "selector": selector.strip(),
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
                for i in np.flatnonzero(flagged)[:most]
            ],
            "examined": len(found),
            "suspected": int(flagged.sum()),
            "precision": measured.precision,
            "recall": measured.recall,
            "precision_of_all": measured.base_rate,
            "informedness": measured.informedness,
        }

    return false_negatives
