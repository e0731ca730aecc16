"""Random pairs with all the evidence that a loss or a selector may ask for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xmr.core import Pairs


def unit(rows: int, width: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(rows, width, generator=generator, dtype=dtype), dim=1)


def evidence(
    visuals: int, texts: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Cosines within both modalities, from other random vectors for each kind, and two peers."""
    sizes = {"visual_scores": visuals, "text_scores": texts, "word_scores": texts}
    sizes |= {"visual_within": visuals, "text_within": texts}
    found = {}
    for name, size in sizes.items():
        rows = unit(size, 4, generator, dtype)
        found[name] = rows @ rows.T
    found["peer_scores"] = torch.rand(2, visuals, texts, generator=generator, dtype=dtype)
    found["text_keys"] = torch.arange(texts)
    return found


def reordered(pairs: Pairs, rows: Tensor, columns: Tensor) -> Pairs:
    """The same v2t pairs with queries and gallery in another order."""
    within = {
        name: getattr(pairs, name)[order][:, order]
        for name, order in (
            ("visual_scores", rows), ("visual_within", rows),
            ("text_scores", columns), ("text_within", columns), ("word_scores", columns),
        )
    }  # fmt: skip
    peers = pairs.peer_scores[:, rows][:, :, columns]
    parts = (part[rows][:, columns] for part in (pairs.scores, pairs.positives, pairs.negatives))
    return Pairs(*parts, **within, peer_scores=peers, text_keys=pairs.text_keys[columns])


def rows(seed=0, visuals=6, texts=6):
    """Embeddings of both sides and all the evidence that can be given as rows, in single precision."""
    generator = torch.Generator().manual_seed(seed)
    make = {
        "visual": (visuals,), "text": (texts,), "visual_features": (visuals,), "text_features": (texts,),
        "word_features": (texts,), "peer_visual": (visuals, 2), "peer_text": (texts, 2),
    }  # fmt: skip
    found = {
        name: normalize(torch.randn(*size, 5, generator=generator), dim=-1) for name, size in make.items()
    }
    return found | {"text_keys": torch.arange(texts)}
