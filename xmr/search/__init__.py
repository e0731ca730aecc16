"""Nearest-neighbour search, exact and approximate, and re-ranking by pair scorers; the one home of faiss."""

from xmr.search.approximate import ApproximateIndex, Index, build_index
from xmr.search.exact import ExactIndex, Facts
from xmr.search.files import cached_index
from xmr.search.stages import Reranked, two_stage

__all__ = [
    "ApproximateIndex",
    "ExactIndex",
    "Facts",
    "Index",
    "Reranked",
    "build_index",
    "cached_index",
    "two_stage",
]
