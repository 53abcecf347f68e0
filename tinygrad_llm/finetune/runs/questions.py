"""What runs on questions with one right answer share: data, a small model, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import random
from ...evaluation.intervals import bootstrap, paired_difference
from ...files.paths import local_path
from ...generation.calculator import Calculator
from ...models import GPT, GPTConfig, LanguageModel
from ...text import CharTokenizer, Tokenizer
from ...text.tokenizer import END_OF_TEXT
from ...training.loop import Result
from ...training.options import OptionError
from ...training.progress import duration
from ...training.runs import counting
from ..data import InstructionDataset
from ..files import read_entries
from ..options import InstructionOptions
from ..prompts import has_chat
from ..reasoning.rewards import judged
from ..reasoning.tasks import ALL_TASKS, make_questions
from ..reasoning.trainer import right_answers
from ..trainers import instruction_trainer
from .base import padding_of, with_dropout
from .finetuning import Finetuning

__all__ = ["Questions", "lengths_of"]


class Questions(Finetuning):
    """A run on questions: subclasses write make_trainer.

    The options are a QuestionOptions with answer_tokens, boxed and those of a trainer.
    """

    o: Any
    model: LanguageModel
    new_tokenizer: Tokenizer | None = None  # of a model without a base; None for its characters

    def needs_base(self) -> bool:
        return False

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for a file of too few questions.
        """
        o = self.o
        o.data = o.data or "sums"
        self.all_questions = o.data == "sums"  # there are no others to test with
        if o.data in ALL_TASKS:
            self.train = make_questions(o.data, o.questions, o.seed)
            asked = {entry["instruction"] for entry in self.train}
            self.test = (
                self.train if self.all_questions
                else make_questions(o.data, o.test_questions, o.seed + 1, asked)
            )  # fmt: skip
        else:
            rows = read_entries(local_path(o.data), ("instruction", "output"))
            n = max(1, min(o.test_questions, len(rows) // 2))
            self.train, self.test = list(rows[:-n]), list(rows[-n:])
        if not self.train or not self.test:
            raise OptionError(f"`data`: {o.data} leaves no questions to train or to test with")
        self.same_data([*self.train, *self.test])
        others = "the same" if self.all_questions else f"{len(self.test):,} others"
        self.note(
            f"data         {o.data}: {len(self.train):,} questions for training, {others} for the "
            "test"
        )

    def make_model(self) -> LanguageModel:
        if self.base is not None:
            return with_dropout(self.base.model, self.o.drop_rate)
        return self.started()

    def started(self) -> LanguageModel:
        """A small model that knows the form of answers, and a part of them.

        The same options make the same model.
        """
        o = self.o
        texts = [entry["instruction"] + entry["output"] for entry in [*self.train, *self.test]]
        self.tokenizer = self.new_tokenizer or CharTokenizer.train("".join(texts), (END_OF_TEXT,))
        longest = max(map(len, texts)) + 1 + o.answer_tokens
        random.manual_seed(o.seed)
        model = GPT(
            GPTConfig(
                vocab_size=self.tokenizer.vocab_size, context_length=longest, emb_dim=o.emb_dim,
                n_heads=o.n_heads, n_layers=o.n_layers, drop_rate=o.drop_rate or 0.0,
            )
        )  # fmt: skip
        rows = self.start_rows()
        options = InstructionOptions(
            steps=o.start_steps, lr=2e-3, batch_size=min(32, len(rows)), mask_instruction=True,
            seed=o.seed,
        )  # fmt: skip
        end = padding_of(self.tokenizer)
        data = InstructionDataset(rows, self.tokenizer, "plain")
        instruction_trainer(model, data, None, options, pad_token_id=end, progress=False).run(
            plan=False
        )
        self.note(
            f"base         none: {o.n_layers} layers, {o.emb_dim} channels, trained for "
            f"{o.start_steps} steps on {len(rows)} of {len(self.train)} answers"
        )
        return model

    def start_rows(self) -> list[dict[str, str]]:
        """Some questions with their right answers: what a new model begins with.

        Wrong answers would teach it that the question does not matter.
        """
        order = np.random.RandomState(self.o.seed & 0xFFFFFFFF).permutation(len(self.train))
        n = max(1, round(self.o.start_share * len(self.train)))
        return [dict(self.train[int(i)]) for i in order[:n]]

    def encode(self) -> None:
        o = self.o
        if o.style is None:
            o.style = "chat" if has_chat(self.tokenizer) else "plain"
        self.style = o.style
        self.end = padding_of(self.tokenizer)
        if self.resumed is None:
            self.before, self.texts_before = self.answered("before       {done} of {of} answered")

    def tool(self) -> Calculator | None:
        """What answers may call."""
        return None

    def answered(self, note: str) -> tuple[np.ndarray, list[str]]:
        """Which test questions the model answers right, greedily, and its answers."""
        return right_answers(
            self.model, self.tokenizer, self.test, self.style, end=self.end,
            answer_tokens=self.o.answer_tokens, boxed=self.o.boxed, tool=self.tool(),
            progress=counting(self.note, note),
        )  # fmt: skip

    def more_config(self) -> dict[str, Any]:
        if self.resumed is not None:
            before = self.resumed.config["before"]
            self.before = np.array(before["right"], np.float64)
            self.texts_before = list(before["answers"])
        before = {"right": self.before.tolist(), "answers": self.texts_before}
        return {"style": self.style, "before": before}

    def report(self, result: Result) -> None:
        o = self.o
        after, texts = self.answered("after        {done} of {of} answered")
        common = max({e["output"] for e in self.train}, key=[e["output"] for e in self.train].count)
        guesses = np.array([float(e["output"] == common) for e in self.test])
        scores = {"before": self.before, "after": after, "the most frequent answer": guesses}
        gain = paired_difference(after, self.before)
        self.note("\nright answers on the test questions, greedy, with 95 % intervals")
        for name, rights in scores.items():
            self.note(f"  {name:<25} {bootstrap(rights)}")
        self.note(f"  after minus before        {gain}")
        numbers = {name: list(_three(bootstrap(rights))) for name, rights in scores.items()}
        lengths = {
            name: lengths_of(self.tokenizer, some)
            for name, some in (("before", self.texts_before), ("after", texts))
        }
        for name, each in lengths.items():
            self.note(
                f"  tokens {name:<18} {each['mean']:.1f}; {each['low']:.0f}, {each['middle']:.0f}, "
                f"{each['high']:.0f} (5 %, half, 95 %)"
            )
        self.write("test.json", {**numbers, "difference": list(_three(gain)), "lengths": lengths})
        rules = [
            judged(a, e["output"], o.boxed).rule for e, a in zip(self.test, texts, strict=True)
        ]
        rows = [
            {"question": e["instruction"], "expected": e["output"], "before": b, "after": a,
             "read_by": rule}
            for e, b, a, rule in zip(self.test, self.texts_before, texts, rules, strict=True)
        ]  # fmt: skip
        self.write("answers.json", rows)
        counts = ", ".join(f"{rule} {n}" for rule, n in Counter(rules).most_common())
        self.note(f"  answers were read by      {counts}")
        for row in rows[: o.show]:
            self.note(f"\n{row['question']}  = {row['expected']}")
            self.note(f"  before  {row['before']}\n  after   {row['after']}")
        self.note(
            f"\ntime              {duration(result.seconds)}\n"
            f"plot              {result.plot}\n"
            f"checkpoint        {result.checkpoint}"
        )


def lengths_of(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """Tokens of texts, without end tokens: "mean", and those at 5, 50 and 95 % of the texts."""
    lengths = [len(tokenizer.encode(text)) for text in texts]
    low, middle, high = np.percentile(lengths, [5, 50, 95]).tolist()
    return {"mean": float(np.mean(lengths)), "low": low, "middle": middle, "high": high}


def _three(interval: Any) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high
