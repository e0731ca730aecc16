"""One module per tab, in the order of the page. Each has TITLE, ID and build(workspace, controls)."""

from xmr.ui.tabs import distributions, false_negatives, search, weights

TABS = (search, distributions, weights, false_negatives)
