"""Adding a loss, a selector or a matcher is one decorated function or class in one file: the contracts run on it, and pass, as
soon as it is imported, and no other file of the repository changes."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

TOYS = '''
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn.functional import normalize, softplus

from xmr.losses.base import LOSSES, hardest_negative, mean_over_positives
from xmr.losses.negatives import Hardest, negatives
from xmr.matchers.base import MATCHERS, Cosine, ReadsText, Standardise
from xmr.matchers.tokens import mean_of_present
from xmr.matchers.words import Words
from xmr.registry import Range, needs
from xmr.selection import SELECTORS, caption_evidence


@LOSSES.register
@negatives(Hardest())
def toy_loss(pairs, *, sharpness: Annotated[float, Range(1, 50, search=(5, 20))] = 9.0):
    """A softplus of how far the hardest negative stands above a positive."""
    hardest, exists = hardest_negative(pairs)
    return mean_over_positives(softplus(sharpness * (hardest[:, None] - pairs.scores)), pairs) * exists


@LOSSES.register
def toy_by_rows(pairs, *, margin: Annotated[float, Range(0, 1, search=(0.05, 0.4))] = 0.3):
    """The root of a squared hinge of the hardest negative, and nothing declared."""
    hardest, exists = hardest_negative(pairs)
    hinge = (margin + hardest[:, None] - pairs.scores).relu() ** 2
    return mean_over_positives((hinge + 1).sqrt() - 1, pairs) * exists


@SELECTORS.register
@needs("text_scores", "text_keys")
def toy_selector(pairs, *, least: Annotated[float, Range(-1, 1)] = 0.9):
    """Negatives that score above most of their row and whose caption is near the query's own."""
    return (caption_evidence(pairs) >= least) & (pairs.scores > pairs.scores.median(1, keepdim=True).values)


@MATCHERS.register
class ToyMatcher(Cosine, ReadsText, nn.Module):
    """A linear map of pooled features, and the mean of word vectors."""

    name = "toy_matcher"
    inputs = "pooled"

    def __init__(
        self,
        visual_dim,
        text_dim=0,
        vocabulary=None,
        *,
        text: Literal["auto", "words"] = "words",
        embed_dim: Annotated[int, Range(1, 4096)] = 64,
        min_count: Annotated[int, Range(1, 1000)] = 1,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.standardise, self.head = Standardise(visual_dim), nn.Linear(visual_dim, embed_dim)
        self.words, self.bias = Words(len(vocabulary), embed_dim, 0.0), nn.Parameter(torch.full((embed_dim,), 1e-3))

    def fit(self, visual, text):
        self.standardise.fit(visual)

    def visual(self, features):
        features = mean_of_present(features) if features.ndim == 3 else features
        return normalize(self.head(self.standardise(features)), dim=1)

    def text(self, batch):
        ids, lengths = batch
        mean = self.words(ids).sum(1) / lengths.clamp(min=1).to(ids.device)[:, None]
        return normalize(mean + self.bias, dim=1)
'''

# The first toy without its caution: its weights depend on the order of the gallery, and it says of its negatives what is not so.
ASTRAY = '''

@LOSSES.register
@negatives(Hardest())
def astray_loss(pairs, *, sharpness: Annotated[float, Range(1, 50, search=(5, 20))] = 9.0):
    """The first toy, and what the first of the gallery scores."""
    return toy_loss(pairs, sharpness=sharpness) + pairs.scores[:, 0]
'''

# What of each file runs: what is asked of a toy by its name, and what looks over all that is registered.
OVER_ALL = {
    "test_losses.py": "oracle",
    "test_chunked.py": "ships",
    "test_selection.py": "declared_and_missed",
    "test_matchers.py": "no test of its own",
    "test_pair_scorers.py": "no test of its own",
    "test_analysis.py": "no test of its own",
    "test_training.py": "no test of its own",
    "test_registry.py": "every_number or defaults",
    "test_docs.py": "by_family or up_to_date",
    "test_shipped.py": "folder_is_whole",
}


def test_toys_in_a_file_of_their_own_pass_every_contract_and_one_that_breaks_two_is_found_out(tmp_path):
    """In a fresh process that imports them first."""
    (tmp_path / "toys.py").write_text(TOYS + ASTRAY)
    over_all = [word for word in OVER_ALL.values() if "own" not in word]
    words = " or ".join(["toy", *over_all, "(astray_loss and (order or declares))"])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "toys", "-p", "no:cacheprovider", "-k", words]
        + [f"tests/{file}" for file in OVER_ALL],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=900,
    )
    told = done.stdout + done.stderr
    failed = {test for test, name in re.findall(r"FAILED \S*::(\w+)\[(\S*)\]", told) if "astray" in name}
    assert {
        "test_order_of_queries_and_gallery_does_not_matter",
        "test_a_loss_does_with_its_negatives_what_it_declares",
    } == failed, told[-4000:]
    assert told.count("FAILED ") == len(re.findall(r"FAILED \S*astray_loss", told)), told[-4000:]
    assert int(re.search(r"(\d+) passed", told)[1]) > 150, told[-500:]
