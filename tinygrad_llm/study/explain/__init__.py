"""What an op, a layer, a loss or an optimizer does: formula, code, example, memory, check."""

from .explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
