"""One module per tab, in the order of the page. Each has TITLE, ID and build(workspace, controls)."""

from xmr.ui.tabs import distributions, embedding_map, errors, false_negatives, results, search, weights

TABS = (search, results, distributions, weights, false_negatives, errors, embedding_map)
