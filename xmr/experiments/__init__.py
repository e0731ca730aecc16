"""Experiments: a fair comparison of losses, and how well selectors find false negatives.

Every loss gets the same number of trials over the learning rate and its own searched parameters, of which the best
by validation rsum (mAP where there are class labels) is chosen, then the same seeds at the chosen setting. Equal
seeds mean equal initial weights and equal order of batches, so losses are compared seed by seed. Every finished training
is a line of a log, so what was stopped goes on where it was.
"""
