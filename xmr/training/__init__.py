"""Training of a matcher with a loss, as an iterator of steps. Prints and draws nothing.

Everything random is drawn from (seed, epoch) or (seed, step), and the caller's generators are left alone. So the
same seed gives the same weights, and a run that goes on from its saved state ends byte for byte as if it had never
been interrupted (on the same machine and number of threads).
"""

from xmr.training.loop import TrainingDiverged, learning_rate, train
from xmr.training.objective import annotated_pairs
from xmr.training.order import BATCHES
from xmr.training.plateau import plateau

__all__ = ["BATCHES", "TrainingDiverged", "annotated_pairs", "learning_rate", "plateau", "train"]
