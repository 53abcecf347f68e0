"""A run that trains an encoder-decoder to translate."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...data import corpora
from ...data.parallel import ENJA, read_parallel
from ...evaluation.bleu import Bleu, bleu_score, corpus_bleu
from ...evaluation.intervals import paired_difference
from ...files.downloads import DownloadError
from ...files.paths import local_path
from ...models import Transformer, TransformerConfig
from ...models.encoder_decoder import EncoderDecoder
from ...text import BPETokenizer, SimpleTokenizer, Tokenizer
from ...training.loop import Result
from ...training.options import OptionError, blame
from ...training.progress import duration
from ..files import read_labelled
from ..sample_texts import SAMPLE
from ..splits import random_split
from ..translation.attention import cross_attentions, plot_cross_attentions
from ..translation.memory import TranslationMemory
from ..translation.options import TranslateOptions
from ..translation.sample import sentence_pairs
from ..tuning import LARGE
from .base import padding_of, with_dropout
from .sequences import Rows, Sequences

__all__ = ["Translate"]


class Way(NamedTuple):
    """A way of writing translations of the test set: texts, their score, the seconds it took."""

    name: str
    texts: list[str]
    bleu: Bleu
    seconds: float


class Translate(Sequences):
    """The run of finetune translate."""

    name = "translate"
    options = TranslateOptions
    o: TranslateOptions

    # ------------------------------------------------------------------------------- the data
    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self._enja_or_sample()
        self.cut = "spaces"  # of BLEU: texts that are cut into words already
        if o.data == ENJA:
            parts = [self._enja(part) for part in ("train", "dev", "test")]
        elif o.data == SAMPLE:
            rows: Any = sentence_pairs()
            if (o.source, o.target) == ("en", "ja"):
                rows = [(target, source) for source, target in rows]
            parts = list(random_split(rows, 1 - o.val_fraction - o.test_fraction, o.val_fraction))
        elif local_path(o.data).is_dir():
            parts = [self._files(part) for part in ("train", "dev", "test")]
        else:
            rows = read_labelled(o.data, o.source, o.target, ("source", "target"))
            fractions = 1 - o.val_fraction - o.test_fraction, o.val_fraction
            parts = list(random_split(rows, *fractions, o.seed))
        if o.data not in (ENJA, SAMPLE):
            self.cut = "char" if o.target in ("ja", "zh") else "13a"
        self.take_parts(parts)
        self.train = self.train[: o.pairs]
        self.note_parts(f"{o.data}, {o.source} to {o.target}")

    def _enja_or_sample(self) -> str:
        """small-parallel-enja, or the sample where it is neither here nor can be downloaded."""
        for name in sorted(f"enja-{part}.{side}" for part in ("train", "dev", "test")
                           for side in ("ja", "en")):  # fmt: skip
            if self.published_or_sample(name) == SAMPLE:
                return SAMPLE
        return ENJA

    def _enja(self, part: str) -> Rows:
        o = self.o
        if {o.source, o.target} != {"ja", "en"}:
            raise OptionError(f"`source` and `target`: {ENJA} has ja and en")
        with blame("`data`", DownloadError):
            paths = [corpora.path(f"enja-{part}.{side}") for side in (o.source, o.target)]
        return read_parallel(*paths)

    def _files(self, part: str) -> Rows:
        """Of a folder: train.ja and train.en, and the same with dev and test."""
        folder = local_path(self.o.data or "")
        with blame("`data`", ValueError, FileNotFoundError):
            return read_parallel(*(folder / f"{part}.{x}" for x in (self.o.source, self.o.target)))

    # ------------------------------------------------------------------------------ the model
    def make_model(self) -> EncoderDecoder:
        o = self.o
        if self.base is not None:
            model: EncoderDecoder = with_dropout(self.base.model, o.drop_rate)
            return model
        sources, targets = ([row[side] for row in self.train] for side in (0, 1))
        self.tokenizer = self.make_tokenizer([*sources, *targets] if o.shared else targets)
        self.source_tokenizer = self.tokenizer if o.shared else self.make_tokenizer(sources)
        end = padding_of(self.tokenizer)
        config = TransformerConfig(
            vocab_size=self.tokenizer.vocab_size,
            source_vocab_size=None if o.shared else self.source_tokenizer.vocab_size,
            context_length=o.context_length, emb_dim=o.emb_dim,
            hidden_dim=4 * o.emb_dim if o.hidden_dim is None else o.hidden_dim,
            n_layers=o.n_layers, n_decoder_layers=o.n_layers, n_heads=o.n_heads,
            norm_first=o.norm_first, drop_rate=0.2 if o.drop_rate is None else o.drop_rate,
            start_token_id=end, pad_token_id=end,
        )  # fmt: skip
        sizes = f"{self.source_tokenizer.vocab_size:,} and {self.tokenizer.vocab_size:,} tokens"
        self.note(
            f"tokenizers   {o.tokenizer}, {sizes}{', shared' if o.shared else ''}\n"
            f"base         none: random weights, {config.summary()}"
        )
        model = Transformer(config)
        if o.schedule == "cosine" and sum(p.numel() for p in model.parameters()) < LARGE:
            o.lr = 1.5e-3 if o.lr is None else o.lr
            o.min_lr = o.lr / 50 if o.min_lr is None else o.min_lr
        return model

    def make_tokenizer(self, texts: Sequence[str]) -> Tokenizer:
        """The tokenizer of the options, learned from these texts."""
        o = self.o
        if o.tokenizer == "bpe":
            with blame("`vocab_size`", ValueError):
                return BPETokenizer.train(texts, o.vocab_size)
        with blame("`min_count`", ValueError):
            return SimpleTokenizer.train("\n".join(texts), cut="blanks", min_count=o.min_count)

    def more_config(self) -> dict[str, Any]:
        return {"languages": [self.o.source, self.o.target]}

    # ----------------------------------------------------------------------------- the report
    def report(self, result: Result) -> None:
        ways = self.ways()
        best = max(ways[1:], key=lambda way: way.bleu.score)
        self.note(f"\ntest, {len(self.test):,} sentences: BLEU with its 95 % interval")
        for way in ways:
            self.note(self._line(way, ways[0]))
        beams = [(way, ways[1]) for way in ways if way.name.endswith("beams")]
        for way, other in [*beams, (best, ways[0])]:
            gain = paired_difference(way.bleu.counts, other.bleu.counts, bleu_score)
            interval = f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
            self.note(f"{way.name} - {other.name}: {interval}")
        self.write_files(ways, best)
        if self.o.worst:
            self.show_worst(best)
        picture = self.plot_attention(best)
        loss = float("nan") if result.val_loss is None else result.val_loss
        self.note(
            f"\nvalidation loss   {loss:.4f} (nats per token; perplexity {math.exp(loss):.2f}) "
            f"after {duration(result.seconds)} of training\n"
            f"plots             {result.plot}, {picture}\n"
            f"checkpoint        {result.checkpoint}"
        )

    def ways(self) -> list[Way]:
        """The test set by the baseline, greedily, by beams, and sampled."""
        sources = self.sets[2].sources
        o, ways = self.o, list[Way]()
        began = time.perf_counter()
        memory = TranslationMemory(self.sets[0].sources, [target for _, target in self.train])
        self._add(ways, "translation memory", memory.translate(sources), began)
        for n in o.beam_counts():
            name = "greedy" if n == 1 else f"{n} beams"
            options = {} if n == 1 else {"num_beams": n, "length_penalty": o.length_penalty}
            began = time.perf_counter()
            texts = self._written(name, **options)
            self._add(ways, name, texts, began)
        began = time.perf_counter()
        texts = self._written("sampling", temperature=o.temperature, seed=o.seed)
        self._add(ways, f"sampled, temperature {o.temperature:g}", texts, began)
        return ways

    def _written(self, name: str, **options: Any) -> list[str]:
        note = f"translating  {name}: {{done}} of {{of}}"
        return self.texts_of(self.write_texts(self.sets[2].sources, note, **options))

    def _add(self, ways: list[Way], name: str, texts: list[str], began: float) -> None:
        seconds = time.perf_counter() - began
        references = [target for _, target in self.test]
        ways.append(Way(name, texts, corpus_bleu(texts, references, cut=self.cut), seconds))

    def _line(self, way: Way, baseline: Way) -> str:
        score = way.bleu.interval()
        words = sum(len(text.split()) for text in way.texts) / len(way.texts)
        note = "  (the baseline)" if way is baseline else ""
        return (
            f"{way.name:<26} {score.value:5.2f} [{score.low:5.2f}, {score.high:5.2f}]"
            f"  {words:4.1f} words  {way.seconds:6.1f} s{note}"
        )

    def write_files(self, ways: Sequence[Way], best: Way) -> None:
        """translations.json with all texts, and test.json with the scores."""
        rows = [
            {"source": source, "expected": target, **{way.name: way.texts[i] for way in ways}}
            for i, (source, target) in enumerate(self.test)
        ]
        self.write("translations.json", rows)
        scores = {}
        for way in ways:
            s, seconds = way.bleu.interval(), way.seconds
            scores[way.name] = {"bleu": s.value, "low": s.low, "high": s.high, "seconds": seconds}
        self.write("test.json", {"best": best.name, "cut": self.cut, "scores": scores})

    def show_worst(self, best: Way) -> None:
        """Prints the translations of which least matches, long ones first."""
        scores = [bleu_score(row[None], effective_order=True) for row in best.bleu.counts]
        order = sorted(range(len(scores)), key=lambda i: (scores[i], -len(self.test[i][0])))
        self.note(f"\nleast of the reference in it ({best.name})")
        for i in order[: self.o.worst]:
            source, target = self.test[i]
            self.note(f"{scores[i]:5.1f}  {source}\n       = {target}\n      -> {best.texts[i]}")

    def plot_attention(self, best: Way) -> Any:
        """A picture of the cross-attention of a test sentence of middle length, translated."""
        order = np.argsort([len(source) for source in self.sets[2].sources], kind="stable")
        i = int(order[len(order) // 2])
        source = self.sets[2].sources[i]
        written = self.write_texts([source])[0]
        maps = cross_attentions(
            self.model, (self.source_tokenizer, self.tokenizer), source, [*written, self.ends[1]]
        )
        title = f"cross-attention: {self.tokenizer.decode(written)}"
        return plot_cross_attentions(maps, self.folder / "attention.png", title)
