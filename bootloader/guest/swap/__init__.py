"""Hot swap: the running application takes an edit in place, keeps its state, and says what still runs old code."""

from .refusal import Refusal, Undone
from .report import Report
from .swap import Prepared, Swap
from .tree import Tree

__all__ = ["Prepared", "Refusal", "Report", "Swap", "Tree", "Undone"]
