"""A language model for lm-evaluation-harness, whose tasks then run on any model of ours.

    from lm_eval import simple_evaluate
    simple_evaluate(harness_model(model, tokenizer), tasks=["arc_easy"], num_fewshot=5)

The harness (Gao et al., EleutherAI; checked with lm-eval 0.4.13) asks for three things only: ln p
of continuations, ln p of whole texts, and texts written up to a stop. It imports PyTorch itself;
our model runs in NumPy all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..files.packages import importing
from ..generation import Sampling, stream_text
from ..models.base import LanguageModel
from ..text import Tokenizer
from .likelihood import continuation_scores, first_token, measure_text

__all__ = ["harness_model"]

_NEW_TOKENS = 256  # of a text, where the task does not say; the harness's own default


def harness_model(model: LanguageModel, tokenizer: Tokenizer, batch_size: int = 8) -> Any:
    """An lm_eval.api.model.LM of a model and its tokenizer.

    Raises: MissingPackage without the package lm-eval.
    """
    with importing("the harness needs lm-eval", 'pip install "lm-eval==0.4.13"'):
        from lm_eval.api.model import LM

    class HarnessModel(LM):  # type: ignore[misc, unused-ignore]
        """The three questions of the harness, each a list of requests with `args`."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """(ln p of the continuation, whether greedy decoding writes it) of each request."""
            pairs = [request.args for request in requests]
            scores = continuation_scores(model, tokenizer, pairs, batch_size)
            return self._noted("loglikelihood", requests,
                               [(score.log_prob, score.is_greedy) for score in scores])  # fmt: skip

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """ln p of each text, by windows of the context that follow one another."""
            texts = [request.args[0] for request in requests]
            nats = [
                -measure_text(model, tokenizer, text, batch_size=batch_size).nats if text else 0.0
                for text in texts
            ]
            return self._noted("loglikelihood_rolling", requests, nats)

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """What follows each context, up to one of the task's stops."""
            texts = [_written(model, tokenizer, *request.args) for request in requests]
            return self._noted("generate_until", requests, texts)

        def _noted(self, kind: str, requests: Sequence[Any], results: list[Any]) -> list[Any]:
            """The results, stored where the harness keeps a cache."""
            for request, result in zip(requests, results, strict=True):
                self.cache_hook.add_partial(kind, request.args, result)
            return results

    return HarnessModel()


def _written(
    model: LanguageModel, tokenizer: Tokenizer, context: str, options: dict[str, Any]
) -> str:
    """The text after a context; options: the harness's until, max_gen_toks, do_sample, ...

    Raises: ValueError for a sampling that is not possible.
    """
    until = options.get("until") or []
    stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
    n = int(options.get("max_gen_toks", options.get("max_new_tokens", _NEW_TOKENS)))
    drawn = bool(options.get("do_sample", False))
    temperature = float(options.get("temperature", 1.0)) if drawn else 0.0
    end = tokenizer.eot_token
    sampling = Sampling(
        temperature=temperature, top_p=options.get("top_p") if drawn else None,
        top_k=options.get("top_k") if drawn else None, stop_strings=stops,
        stop_tokens=() if end is None else [end],
    )  # fmt: skip
    begin = first_token(tokenizer)
    ids = list(tokenizer.encode(context, disallowed_special=(), add_special_tokens=False))
    ids = ids if begin is None else [begin, *ids]
    ids = ids[-max(1, model.context_length - n) :]  # the end of a long context, with room
    return "".join(stream_text(model, ids, n, tokenizer=tokenizer, sampling=sampling))
