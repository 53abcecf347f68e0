"""A run that trains a T5 to write summaries."""

from __future__ import annotations

import math
import time
from statistics import median
from typing import Any

from ...evaluation.intervals import paired_difference
from ...evaluation.words import CUTS
from ...models import T5, T5Config
from ...models.encoder_decoder import EncoderDecoder
from ...text import END_OF_TEXT, BPETokenizer, train_largest
from ...training.loop import Result, Trainer
from ...training.options import OptionError, blame
from ...training.progress import duration
from ...weights.packaged import PACKAGED, locate
from ..files import read_labelled
from ..sample_texts import SAMPLE
from ..splits import random_split
from ..summaries.call import sentinel, sentinels_of
from ..summaries.data import DOCSTRINGS, add_pairs, add_spans, docstring_parts, restored_sentences
from ..summaries.options import SummarizeOptions
from ..summaries.report import BASELINES, Way, cut_for, first_words, plot_ways, scored, table
from ..summaries.sample import reports
from ..translation.memory import TranslationMemory
from .base import padding_of, with_dropout
from .sequences import Sequences

__all__ = ["Summarize"]

SENTINELS = 32  # enough for sources of 650 tokens
RATE = 4e-3  # of small models from random weights: larger ones want less


class Summarize(Sequences):
    """The run of finetune summarize."""

    name = "summarize"
    options = SummarizeOptions
    o: SummarizeOptions

    # ------------------------------------------------------------------------------- the data
    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or DOCSTRINGS
        fractions = o.val_fraction, o.test_fraction
        if o.data == DOCSTRINGS:
            with blame("`data`", FileNotFoundError):
                parts = docstring_parts(*fractions)
        else:
            columns = o.text_column, o.summary_column
            flags = "text_column", "summary_column"
            rows = reports() if o.data == SAMPLE else read_labelled(o.data, *columns, flags)
            parts = random_split(rows, 1.0 - sum(fractions), o.val_fraction, o.seed)
        self.take_parts(parts)
        self.note_parts(o.data)
        self.test = self.test[: o.test_texts]

    # ------------------------------------------------------------------------------ the model
    def make_model(self) -> EncoderDecoder:
        o = self.o
        if self.base is not None:
            model: EncoderDecoder = with_dropout(self.base.model, o.drop_rate)
            return model
        special = (END_OF_TEXT, *(sentinel(i) for i in range(SENTINELS)))
        texts = [text for row in self.train for text in row]
        with blame("`vocab_size`", ValueError):
            if o.vocab_size is None:
                self.tokenizer = train_largest("bpe", texts, 1536, special)
            else:
                self.tokenizer = BPETokenizer.train(texts, o.vocab_size, special)
        self.source_tokenizer = self.tokenizer
        end = padding_of(self.tokenizer)
        config = T5Config(
            vocab_size=self.tokenizer.vocab_size, context_length=o.context_length,
            emb_dim=o.emb_dim, hidden_dim=o.hidden_dim or 4 * o.emb_dim, n_layers=o.n_layers,
            n_decoder_layers=o.n_layers, n_heads=o.n_heads, head_dim=o.emb_dim // o.n_heads,
            activation="gelu_new" if o.gated else "relu", gated=o.gated, scaled_head=not o.gated,
            tie_weights=not o.gated, drop_rate=o.drop_rate or 0.0,
            start_token_id=end, pad_token_id=end,
        )  # fmt: skip
        self.note(
            f"tokenizer    bpe, {self.tokenizer.vocab_size:,} tokens\n"
            f"base         none: random weights, T5 with {config.summary()}"
        )
        return T5(config)

    def make_trainer(self) -> Trainer:
        if self.o.lr is None and self.base is None:
            self.o.lr = RATE
        return super().make_trainer()

    def encode(self) -> None:
        super().encode()
        o = self.o
        if o.restore:
            more = self.dataset(restored_sentences(self.train, o.restore, o.seed))
            add_pairs(self.sets[0], more.sources, more.targets)
            self.note(f"restore      {len(more):,} sentences with gaps beside the pairs")
        if o.spans:
            self.add_spans()

    def add_spans(self) -> None:
        """Adds span-corrupted sources to the training pairs.

        Raises: OptionError if the tokenizer has no tokens for holes.
        """
        known = sentinels_of(self.source_tokenizer)
        if not known or self.source_tokenizer is not self.tokenizer:
            raise OptionError(f"`spans`: the base's tokenizer has no {sentinel(0)}")
        n = add_spans(self.sets[0], known, self.ends[0], self.o.spans, self.o.seed)
        self.note(f"spans        {n:,} span-corrupted texts beside the pairs")

    def more_config(self) -> dict[str, Any]:
        return {"max_source": self.o.max_source, "max_target": self.o.max_target}

    # ----------------------------------------------------------------------------- the report
    def report(self, result: Result) -> None:
        ways = self.ways()
        self.note(f"\ntest, {len(self.test):,} texts: mean F1, ROUGE-L with its 95 % interval")
        self.note(table(ways))
        baseline = max(ways[:BASELINES], key=lambda way: way.rouge["rougeL"].f1.mean())
        for way in ways[BASELINES:]:
            ours, theirs = way.rouge["rougeL"].f1, baseline.rouge["rougeL"].f1
            gain = paired_difference(ours, theirs)
            self.note(
                f"{way.name} - {baseline.name}: ROUGE-L {gain.value:+.3f} "
                f"[{gain.low:+.3f}, {gain.high:+.3f}]"
            )
        self.show(ways)
        self.write_files(ways)
        picture = plot_ways(ways, self.folder / "ways.png")
        loss = float("nan") if result.val_loss is None else result.val_loss
        self.note(
            f"\nvalidation loss   {loss:.4f} (nats per token; perplexity {math.exp(loss):.2f}) "
            f"after {duration(result.seconds)} of training\n"
            f"plots             {result.plot}, {picture}\n"
            f"checkpoint        {result.checkpoint}"
        )

    def ways(self) -> list[Way]:
        """The test set by the baselines, greedily, by beams, and drawn in three ways."""
        o, ways = self.o, list[Way]()
        texts, references = ([row[side] for row in self.test] for side in (0, 1))
        cut = o.cut or cut_for(references)
        bert = o.bert_score and cut == "words" and locate(PACKAGED["all-minilm-l6-v2"]) is not None
        words = CUTS["spaces" if cut == "words" else "char"]
        n = round(median(len(words(summary)) for _, summary in self.train))

        def add(name: str, write: Any) -> None:
            began = time.perf_counter()
            written = write()
            seconds = time.perf_counter() - began
            ways.append(scored(name, written, references, cut, seconds, bert))

        n_train = len(self.train)  # the pairs; spans stand behind them
        memory = TranslationMemory(self.sets[0].sources[:n_train], [s for _, s in self.train])
        add(f"first {n} words" if cut != "char" else f"first {n} letters",
            lambda: first_words(texts, n, cut))  # fmt: skip
        add("of the nearest text", lambda: memory.translate(self.sets[2].sources))
        drawn = {"temperature": o.temperature, "seed": o.seed}
        beams = {"num_beams": o.beams, "length_penalty": o.length_penalty}
        for name, options in (
            ("greedy", {}), (f"{o.beams} beams", beams), ("sampling", drawn),
            (f"top-k, k = {o.top_k}", {**drawn, "top_k": o.top_k}),
            (f"top-p, p = {o.top_p:g}", {**drawn, "top_p": o.top_p}),
        ):  # fmt: skip
            note = f"writing      {name}: {{done}} of {{of}}"
            add(name, lambda: self.texts_of(
                self.write_texts(self.sets[2].sources, note, **options)))  # fmt: skip  # noqa: B023
        return ways

    def show(self, ways: list[Way]) -> None:
        """Prints a few texts with what every way makes of them."""
        for i, (text, summary) in enumerate(self.test[: self.o.examples]):
            self.note(f"\n{text[:300]}{' ...' if len(text) > 300 else ''}\n  = {summary}")
            for way in ways:
                self.note(f" -> {way.texts[i]}  ({way.name})")

    def write_files(self, ways: list[Way]) -> None:
        """summaries.json with all texts, and test.json with the scores."""
        rows = [
            {"text": text, "expected": summary, **{way.name: way.texts[i] for way in ways}}
            for i, (text, summary) in enumerate(self.test)
        ]
        self.write("summaries.json", rows)
        self.write("test.json", {"scores": {way.name: way.scores() for way in ways}})
