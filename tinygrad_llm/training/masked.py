"""A run of pretraining a BERT: hidden words are guessed from what stands to both sides of them.

run = MaskedPretraining(resolve({"model": "bert", "steps": 500}, {}), progress=False)
result = run.run()
fill_mask(run.model, run.tokenizer, "The [MASK] statement")
"""

from __future__ import annotations

import math
from typing import Any

from ..data.masking import MaskedBatches, MaskedWindows, Masking
from ..files.plain_text import one_line
from ..files.program import command_line
from ..generation.masked import fill_mask
from ..models.base import init_normal
from ..models.costs import flops_per_token
from ..text import Tokenizer
from ..text.tokenizer import CLS, ENCODER_TOKENS, SEP
from ..text.words import word_tables
from .analysis import perplexity
from .loop import Trainer
from .options import OptionError
from .pretraining import Pretraining, beginning

_BASE_WIDTH = 768  # channels of BERT base, whose matrices have the standard deviation 0.02

__all__ = ["MaskedPretraining", "masking_for"]


def masking_for(
    tokenizer: Tokenizer, probability: float = 0.15, whole_words: bool = True
) -> Masking:
    """What is hidden of texts by this tokenizer.

    probability: of a word, or without whole_words of a token, to be chosen
    Raises: ValueError if the tokenizer has no [MASK], [CLS] or [SEP].
    """
    known = tokenizer.special_tokens
    cls_id, sep_id = (known.get(a, known.get(b)) for a, b in ((CLS, "<s>"), (SEP, "</s>")))
    if tokenizer.mask_token is None or cls_id is None or sep_id is None:
        raise ValueError(
            f"the tokenizer ({tokenizer.name}) lacks the special tokens {CLS}, {SEP} and [MASK]: a "
            "masked language model needs one that has them"
        )
    begins, continues = word_tables(tokenizer) if whole_words else (None, None)
    return Masking(
        tokenizer.mask_token, cls_id, sep_id, tokenizer.vocab_size, begins, continues, probability
    )


class MaskedPretraining(Pretraining):
    """One run, as Pretraining: the loss is the cross-entropy of the hidden tokens alone."""

    def special_tokens(self) -> dict[str, Any]:
        return {"special_tokens": ENCODER_TOKENS}

    def new_model(self, config: Any) -> Any:
        """A model of this shape; matrices are drawn as wide as in a BERT of 768 channels.

        Products of narrow matrices are small: with BERT's 0.02 as their standard deviation a model
        of 64 channels takes more steps until it looks at the words around a mask.
        """
        model = super().new_model(config)
        if config.emb_dim < _BASE_WIDTH:
            init_normal(model, 0.02 * math.sqrt(_BASE_WIDTH / config.emb_dim))
        return model

    def make_trainer(self, val_ids: Any) -> Trainer:
        """See Pretraining.

        Raises: OptionError if the tokenizer lacks a special token, or the context is too short.
        """
        o, T = self.o, self.o.context_length
        try:
            masking = masking_for(self.tokenizer, o.mask_probability, o.whole_words)
        except ValueError as error:
            raise OptionError(f"`tokenizer`: {error}") from error
        try:
            self.batches = MaskedBatches(self.train_ids, o.batch_size, T, masking, seed=o.seed)
            validation = MaskedWindows(val_ids, o.batch_size, T, masking, seed=o.seed)
        except ValueError as error:
            raise OptionError(f"`context_length`: {error}") from error

        def flops(batch: Any) -> float:
            return math.prod(batch[0].shape) * flops_per_token(self.model, T)

        return Trainer(
            self.model, self.optimizer, self.batches, o, steps=o.steps or 1, validation=validation,
            sample=lambda model: self.sample(0), unit="hidden token", flops=flops,
            progress=self.progress,
        )  # fmt: skip

    def steps_of_a_pass(self) -> float:
        return len(self.batches) / self.o.accumulation

    def sample(self, number: int) -> str:
        """A line of the validation text with a hidden word, and what the model puts there."""
        text = self.o.prompt
        mask = next(s for s, i in self.tokenizer.special_tokens.items()
                    if i == self.tokenizer.mask_token)  # fmt: skip
        if text is None or mask not in text:
            words = (text or beginning(self.val_text, number, 12)).split(" ")
            place = (3 * number + 1) % len(words)
            text = " ".join([*words[:place], mask, *words[place + 1 :]])
        try:
            fills = fill_mask(self.model, self.tokenizer, text, min(5, self.tokenizer.vocab_size))
        except ValueError as error:  # a line that is longer than the context
            return f"{text}\n-> {error}"
        best = [", ".join(f"{one_line(fill.token.strip())} {fill.probability:.0%}" for fill in each)
                for each in fills]  # fmt: skip
        return "\n".join([text, *(f"-> {line}" for line in best)])

    def next_command(self) -> str:
        return f'{command_line("fill-mask", self.o.folder)} "a text with [MASK] in it"'

    def losses(self, val_loss: float) -> str:
        return (
            f"validation loss   {val_loss:.4f} (nats per hidden token)\n"
            f"perplexity        {perplexity(val_loss):,.1f} (of hidden tokens, not of a whole text)"
        )
