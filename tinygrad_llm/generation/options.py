"""What can be asked of generation: how a token is chosen, when a text ends, beams, and drafts.

The one definition of these options, with their checks. `generate` takes them as a `Sampling`, or as
keywords, from which it builds one.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..models.base import LanguageModel

__all__ = ["Beams", "DraftStatistics", "Drafts", "Sampling", "integer", "options_of"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when a text ends.

    temperature         0: always the most likely token (greedy). Otherwise logits are divided by it
                        and a token is drawn: below 1 more certain, above 1 more varied.
    top_k               draw only from the k most likely tokens.
    top_p               draw only from the fewest most likely tokens whose probabilities add up to
                        p, 0 < p <= 1.
    min_p               draw only from tokens that are at least min_p times as likely as the most
                        likely one, 0 <= min_p <= 1.
    repetition_penalty  the logit of a token that is already in the text (prompt or new) is divided
                        by it if positive, else multiplied: above 1 repeats less. 1: no penalty.
    stop_tokens         an id or several that end a text.
    stop_strings        a text or several that end a text, also where tokens are cut otherwise.
    seed                an int: the random numbers of the whole batch come from one stream, as those
                        of torch.multinomial. Several, one per row: each row has its own stream, so
                        that it draws what it draws alone with that seed. None: the default
                        generator.

    The order is that of transformers: penalty, temperature, top_k, top_p, min_p. Stop tokens and
    strings are stored as tuples, numbers as Python numbers.
    Raises: ValueError or TypeError, which names the wrong value.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    stop_tokens: Any = ()
    stop_strings: Any = ()
    seed: Any = None

    def __post_init__(self) -> None:
        def number(name: str, allowed: Callable[[float], bool], expected: str) -> None:
            value = getattr(self, name)
            object.__setattr__(self, name, _number(name, value, allowed, expected))

        number("temperature", lambda t: 0.0 <= t < math.inf, "a finite number of at least 0")
        if self.top_k is not None:
            object.__setattr__(self, "top_k", integer("top_k", self.top_k, 1, ValueError))
        if self.top_p is not None:
            number("top_p", lambda p: 0.0 < p <= 1.0, "greater than 0 and at most 1")
        if self.min_p is not None:
            number("min_p", lambda p: 0.0 <= p <= 1.0, "at least 0 and at most 1")
        number("repetition_penalty", lambda p: 0.0 < p < math.inf, "a finite number above 0")
        object.__setattr__(self, "stop_tokens", _stop_tokens(self.stop_tokens))
        object.__setattr__(self, "stop_strings", _stop_strings(self.stop_strings))
        object.__setattr__(self, "seed", _seeds(self.seed))

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn; if not, the choice is greedy."""
        return self.temperature > 0.0


MOST_BEAMS = 4096


@dataclass(frozen=True)
class Beams:
    """Beam search: the num_beams best texts so far continue, and the best finished one is returned.

    num_beams       1: no beam search; at most MOST_BEAMS, for each is a row of the batch.
    length_penalty  a finished text is compared by its log-probability / (new tokens, the stop token
                    included) ** length_penalty: 0 compares the log-probabilities themselves, and
                    the higher it is, the longer the texts.
    early_stopping  True: stop when there are num_beams finished texts. False: stop when the best
                    text that is not finished, at its present length, is worse than each of these.
                    "never": stop only if it cannot become better at any length.

    The meanings are those of transformers' generate.
    Raises: ValueError or TypeError, which names the wrong value.
    """

    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_beams", integer("num_beams", self.num_beams, 1, ValueError))
        if self.num_beams > MOST_BEAMS:
            raise ValueError(f"num_beams must be at most {MOST_BEAMS:,}, got {self.num_beams:,}")
        penalty = _number("length_penalty", self.length_penalty, math.isfinite, "a finite number")
        object.__setattr__(self, "length_penalty", penalty)
        if isinstance(self.early_stopping, np.bool_):
            object.__setattr__(self, "early_stopping", bool(self.early_stopping))
        if self.early_stopping is not True and self.early_stopping not in (False, "never"):
            raise ValueError(
                f'early_stopping must be True, False or "never", got {self.early_stopping!r}'
            )


@dataclass
class DraftStatistics:
    """What became of the drafts of a text; generation counts here while it writes.

    calls     calls of the model, the one for the prompt included
    drafts    calls that verified at least one drafted token
    proposed  drafted tokens
    accepted  those of them that the model accepted
    """

    calls: int = 0
    drafts: int = 0
    proposed: int = 0
    accepted: int = 0

    @property
    def accepted_per_draft(self) -> float:
        """The mean number of accepted tokens in a draft; 0 without drafts."""
        return self.accepted / self.drafts if self.drafts else 0.0

    def __str__(self) -> str:
        return (
            f"{self.accepted} of {self.proposed} drafted tokens accepted, "
            f"{self.accepted_per_draft:.2f} per draft; {self.calls} calls of the model"
        )


@dataclass(frozen=True)
class Drafts:
    """Speculative decoding: several tokens are drafted, and the model verifies them in one call.

    draft             None: one token per call. "lookup": what followed the last tokens where they
                      occurred before in the text. A LanguageModel, smaller and with the same
                      vocabulary: what it writes.
    draft_tokens      the most tokens of a draft.
    draft_ngram       for "lookup": the most last tokens that are searched for.
    draft_statistics  a DraftStatistics, which counts while the text is written.

    Raises: ValueError or TypeError, which names the wrong value.
    """

    draft: Any = None
    draft_tokens: int = 4
    draft_ngram: int = 3
    draft_statistics: DraftStatistics | None = None

    def __post_init__(self) -> None:
        draft, counts = self.draft, self.draft_statistics
        if isinstance(draft, str) and draft != "lookup":
            raise ValueError(f'draft must be "lookup" or a language model, got {draft!r:.60}')
        if not (draft is None or isinstance(draft, str | LanguageModel)):
            raise TypeError(f'draft must be "lookup" or a language model, got {draft!r:.60}')
        for name in ("draft_tokens", "draft_ngram"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1, ValueError))
        if not (counts is None or isinstance(counts, DraftStatistics)):
            raise TypeError(f"draft_statistics must be a DraftStatistics, got {counts!r:.60}")


def options_of(
    sampling: Any, keywords: Mapping[str, Any], function: str
) -> tuple[Sampling, Beams, Drafts]:
    """The options of a call: those of `sampling`, with the keywords in their place.

    sampling: a Sampling, or None for the defaults; function: its name, for the error
    Raises: TypeError for a keyword that is not an option, or a `sampling` of another type; else as
    Sampling, Beams and Drafts do.
    """
    if sampling is None:
        sampling = Sampling()
    elif not isinstance(sampling, Sampling):
        raise TypeError(f"sampling must be a Sampling, got {sampling!r:.60}")
    kinds = (Sampling, Beams, Drafts)
    fields = [{f.name for f in dataclasses.fields(kind)} for kind in kinds]
    known = sorted(set().union(*fields))
    for name in keywords:
        if name not in known:
            import difflib  # here, because its import is slow and rarely needed

            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
    chosen, of_beams, of_drafts = (
        {name: value for name, value in keywords.items() if name in names} for names in fields
    )
    sampling = dataclasses.replace(sampling, **chosen) if chosen else sampling
    return sampling, Beams(**of_beams), Drafts(**of_drafts)


# ---------------------------------------------------------------------------- numbers at the door
def integer(name: str, value: Any, least: int, wrong_type: type[Exception] = TypeError) -> int:
    """The value as a Python int.

    Raises: `wrong_type` if it is not an integer, ValueError if it is below `least`.
    """
    whole = _index(value)
    if whole is None and wrong_type is TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if whole is None or (whole < least and wrong_type is ValueError):
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    if whole < least:
        raise ValueError(f"{name} must be at least {least}, got {whole}")
    return whole


def _index(value: Any) -> int | None:
    """An integer of any kind (Python's, NumPy's, a tensor) as an int; None if it is not one."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        return None


def _number(name: str, value: Any, allowed: Callable[[float], bool], expected: str) -> float:
    """A number of any kind (Python's, NumPy's, a tensor) as a float.

    Raises: ValueError if it is not a number, or not an allowed one.
    """
    number = math.nan
    if hasattr(value, "__float__") and not isinstance(value, bool | np.bool_):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    if not allowed(number):
        raise ValueError(f"{name} must be {expected}, got {value!r:.80}")
    return number


def _is_several(value: Any) -> bool:
    """Whether it is a list or the like: no text, no number, no 0-d array or tensor."""
    listed = hasattr(value, "__iter__") and not isinstance(value, str)
    return listed and getattr(value, "ndim", 1) > 0


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if _is_several(value) else [value]


def _stop_tokens(stop_tokens: Any) -> tuple[int, ...]:
    stops = []
    for stop in _several(stop_tokens):
        index = _index(stop)
        if index is None or index < 0:
            raise ValueError(f"stop_tokens must be token ids, got {stop!r}")
        stops.append(index)
    return tuple(dict.fromkeys(stops))


def _stop_strings(stop_strings: Any) -> tuple[str, ...]:
    strings = _several(stop_strings)
    for string in strings:
        if not isinstance(string, str) or not string:
            raise ValueError(
                f"stop_strings must be texts of at least one character, got {string!r}"
            )
    return tuple(dict.fromkeys(strings))


def _seeds(seed: Any) -> Any:
    if seed is None:
        return None
    seeds = tuple(map(_index, _several(seed)))
    if None in seeds:
        raise TypeError(f"seed must be an integer, or one integer per row, got {seed!r}")
    return seeds if _is_several(seed) else seeds[0]
