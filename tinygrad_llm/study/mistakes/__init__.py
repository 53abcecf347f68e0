"""Named mistakes: for every op the wrong backward passes that people really write.

They have two uses. Tests put each in place of the true backward, to see that the checks notice it;
and a learner whose gradient equals one of them reads which mistake it is.

MISTAKES   op name -> its mistakes, each with a name, one sentence, and the wrong backward
"""

from . import activations, arrangement, elementwise, layers, losses, memories
from .base import MISTAKES, Mistake

__all__ = ["MISTAKES", "Mistake"]
