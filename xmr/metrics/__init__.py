"""How well each query finds its matches.

A metric is a function of a `Ranking`: the sorted ranks of every query's positives hold all that recall, precision
and nDCG need, so nothing here ever sorts a whole gallery for a user to look at.

Conventions. Rows are queries; ranks start at 1. The rank of a query's j-th best positive is j plus the number of
items that are not positive and *do not score below it*: ties count against the query, and so does NaN on either
side, so collapsed or broken embeddings score like the worst ranking and not like the best. Positives never stand
in each other's way. A query without positives has the value NaN in every metric; means and medians leave it out,
and `<direction>/without_positives` tells their number where there are any.
"""

from xmr.metrics.chance import by_chance, is_chance
from xmr.metrics.choices import choice_accuracy, winoground_scores
from xmr.metrics.flips import flip_test
from xmr.metrics.matches import (
    Gallery,
    Matches,
    evaluate_matches,
    rank_gallery,
    rank_matches,
    rank_matches_of_scores,
)
from xmr.metrics.measures import (
    METRICS,
    average_precision,
    average_precision_at_k,
    class_map,
    first_rank,
    map_at_r,
    ndcg,
    r_precision,
    recall_at_k,
    xinf_ap,
)
from xmr.metrics.ranking import (
    JudgedRanking,
    rank_embeddings,
    rank_positives,
    rank_scores,
    rank_truth,
    rank_truth_of_scores,
)
from xmr.metrics.summary import (
    CUTOFFS,
    bootstrap_interval,
    by_visual,
    evaluate,
    evaluate_embeddings,
    evaluate_rankings,
    evaluate_scores,
    headline,
)

__all__ = [
    "CUTOFFS",
    "METRICS",
    "Gallery",
    "JudgedRanking",
    "Matches",
    "average_precision",
    "average_precision_at_k",
    "bootstrap_interval",
    "by_chance",
    "by_visual",
    "choice_accuracy",
    "class_map",
    "evaluate",
    "evaluate_embeddings",
    "evaluate_matches",
    "evaluate_rankings",
    "evaluate_scores",
    "first_rank",
    "flip_test",
    "headline",
    "is_chance",
    "map_at_r",
    "ndcg",
    "r_precision",
    "rank_embeddings",
    "rank_gallery",
    "rank_matches",
    "rank_matches_of_scores",
    "rank_positives",
    "rank_scores",
    "rank_truth",
    "rank_truth_of_scores",
    "recall_at_k",
    "winoground_scores",
    "xinf_ap",
]
