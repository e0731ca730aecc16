"""xmr: a laboratory for the loss in cross-modal retrieval.

Every loss, metric, plot and flag is a function of one score matrix (rows are queries) and of masks that say
which pairs are positive, negative or ignored. A loss is written for one direction; the weight of a pair is
the derivative of the loss with respect to its score.
"""

__version__ = "0.1.0"
