"""Nearest-neighbour search, exact and approximate, and re-ranking by pair scorers; the one home of faiss."""

from xmr.search.approximate import ApproximateIndex, build_index, choose_kind, megabytes
from xmr.search.exact import ExactIndex, Facts, Kind
from xmr.search.files import IndexRefused, cached_index, open_index, save_index
from xmr.search.stages import Index, Reranked, two_stage

__all__ = [
    "ApproximateIndex",
    "ExactIndex",
    "Facts",
    "Index",
    "IndexRefused",
    "Kind",
    "Reranked",
    "build_index",
    "cached_index",
    "choose_kind",
    "megabytes",
    "open_index",
    "save_index",
    "two_stage",
]
