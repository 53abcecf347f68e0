"""Named mistakes of a CRF, as those in whole_layers.py."""

from __future__ import annotations

import math

from .layer_mistake import twin_of, wrong_layer

wrong_layer(
    "CRF",
    ("transitions the wrong way", "transitions[i, j] is read as from j to i: it is the score of "
     "the tag j after the tag i.",
     {"between": lambda self, before, tag: self.layer.transitions[tag, before]}),
    ("start forgotten", "A path's first tag has a score too: start_transitions.",
     {"first": lambda self, tag: self.layer.start_transitions[tag] * 0.0}),
    ("end of the padding", "The last tag is taken from the end of the batch: a shorter text ends "
     "at its own last token.",
     {"last": lambda self, path, whole: self.layer.end_transitions[whole[-1]]}),
    ("padding counted", "The mask is ignored: padding gets tags like a text.",
     {"tokens": lambda self, seen: list(range(len(seen)))}),
    ("best path for all paths", "log Z is the best path's score: it is log Σ exp over all of them, "
     "otherwise nothing else becomes less likely.",
     {"log_sum": lambda self, scores: scores.max()}),
    ("not normalised", "The score alone is returned: without log Z it grows without end.",
     {"log_sum": lambda self, scores: scores.sum() * 0.0}),
    ("mean of the paths", "log Z is that of the mean path: the exponentials of all paths are added "
     "up, not averaged.",
     {"log_sum": lambda self, scores: twin_of(self).log_sum(scores) - math.log(len(scores))}),
)  # fmt: skip
