"""Arrays in, arrays out: what losses do to pairs, and what runs do to queries.

Embeddings are (N, D) arrays whose inner product is the score; half precision is raised to single, block by block,
so nothing of the size (queries, gallery) is ever held. Groups are (N,) integers: a pair is annotated as a match
where the groups of its two sides are equal. `truth(rows, columns)` takes two index vectors and returns the real
relevance of every query row with every gallery column: 1 matches, 0 does not, NaN unknown.
"""

from xmr.analysis.blocks import Relevance, ScoredSide, Side, inner, score_blocks, scored_sides
from xmr.analysis.distributions import (
    POPULATIONS,
    Distribution,
    ScoreSamples,
    auc,
    overlap,
    score_distributions,
    score_samples,
)
from xmr.analysis.negatives import (
    HardNegatives,
    PrecisionRecall,
    ThresholdCurve,
    hard_negatives_by_weight,
    nearest_own_caption,
    precision_recall,
    suspected_by_threshold,
    suspected_pairs,
    threshold_curve,
    threshold_of,
)
from xmr.analysis.weights import (
    WeightCurve,
    batch_weights,
    effective_negatives,
    pair_weights,
    query_weights,
    sample_batch,
    typical_negatives,
    weight_curve,
)

__all__ = [
    "POPULATIONS",
    "Distribution",
    "HardNegatives",
    "PrecisionRecall",
    "Relevance",
    "ScoreSamples",
    "ScoredSide",
    "Side",
    "ThresholdCurve",
    "WeightCurve",
    "auc",
    "batch_weights",
    "effective_negatives",
    "hard_negatives_by_weight",
    "inner",
    "nearest_own_caption",
    "overlap",
    "pair_weights",
    "precision_recall",
    "query_weights",
    "sample_batch",
    "score_blocks",
    "score_distributions",
    "score_samples",
    "scored_sides",
    "suspected_by_threshold",
    "suspected_pairs",
    "threshold_curve",
    "threshold_of",
    "typical_negatives",
    "weight_curve",
]
