"""Both towers of an open_clip model, trained end to end with the losses that heads are trained with.

`Towers` is a matcher whose features are pictures and token ids, so that training, verdicts, selectors and resuming are
those of `xmr.training`. What comes out is a plain folder of open_clip.
"""

from xmr.towers.layers import depths, low_rank, trained_names
from xmr.towers.model import Pictures, Towers, make_towers

__all__ = ["Pictures", "Towers", "depths", "low_rank", "make_towers", "trained_names"]
