"""What is pushed to the Hub: folders of run folders with their cards, and the folder of a Space.

Only files that a run.json vouches for leave a run's folder, with a run.json in which no path of this machine is left.
"""

from xmr.publishing.folders import Synced, check_paths, sync
from xmr.publishing.repositories import write_repository
from xmr.publishing.space import Space, write_space

__all__ = ["Space", "Synced", "check_paths", "sync", "write_repository", "write_space"]
