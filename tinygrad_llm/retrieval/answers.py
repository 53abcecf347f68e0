"""Answers with passages: the question and what was retrieved go to a chat model together.

    reader = Reader.load("smollm2-135m-instruct")
    passages = index.search("What does lambda make?", k=3)
    if fits(passages):
        for piece in reader.stream("What does lambda make?", passages):
            print(piece, end="")

Source: Lewis et al. (2020), "Retrieval-Augmented Generation"; here the passages stand in the prompt
of a model that was not trained for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..finetune.task_models import TaskModel
from ..generation import Sampling, end_tokens, stream_text
from ..models import LanguageModel
from ..models.pretrained import language_model
from ..text import PipelineTokenizer
from ..text import from_pretrained as load_tokenizer
from .index import Passage

__all__ = [
    "ASKED", "LEAST_SHARE", "REFUSAL", "THRESHOLD", "Reader", "chat_prompt", "close_passages",
    "fits", "instruction_examples", "least",
]  # fmt: skip

# The least cosine of MiniLM between a question and its best passage, and without vectors the least
# share of its words. Measured by `python -m benchmarks retrieval`, see benchmarks/RETRIEVAL.md.
THRESHOLD, LEAST_SHARE = 0.35, 0.2
ASKED = 'Which word belongs in the gap? "{}"'  # how a question with a gap is asked
REFUSAL = "The texts do not say."  # what a tuned model answers when no passage helps


def fits(passages: Sequence[Passage], threshold: float | None = None) -> bool:
    """Whether one of the passages is close enough to the question for an answer."""
    return bool(close_passages(passages, threshold))


def close_passages(
    passages: Sequence[Passage], threshold: float | None = None
) -> list[Passage]:  # fmt: skip
    """The passages whose closeness is the threshold or more, which a model should read.

    threshold: None for THRESHOLD, or LEAST_SHARE without vectors

    A small model is confused by passages about something else. Closeness is the cosine, or without
    vectors the share of the question's words in the passage.
    """
    return [p for p in passages if p.closeness >= least(p, threshold)]


def least(passage: Passage, threshold: float | None = None) -> float:
    """The threshold of a passage: the given one, or that of its kind of closeness."""
    if threshold is not None:
        return threshold
    return THRESHOLD if passage.cosine is not None else LEAST_SHARE


def chat_prompt(question: str, passages: Sequence[str] = ()) -> str:
    """What a user would write: the passages, then the question; without any the question alone."""
    if not passages:
        return f"Answer in one sentence: {question}"
    context = "\n".join(" ".join(text.split()) for text in passages)
    return f"Context:\n{context}\n\nUsing the context, answer in one sentence: {question}"


def instruction_examples(
    questions: Sequence[str], answers: Sequence[str], passages: Sequence[Sequence[str]]
) -> list[dict[str, str]]:
    """Examples for finetune instruct: the prompt that `Reader` makes of them, and the answer.

    questions, answers: N texts; passages: for each question its passages, the right one among them
    or not: a model that also sees wrong ones learns to look. An answer stays the output.
    Raises: ValueError for different numbers, or an empty question or answer.
    """
    if not len(questions) == len(answers) == len(passages):
        raise ValueError(
            f"{len(questions)} questions, {len(answers)} answers and {len(passages)} lists of "
            "passages: they belong together one by one"
        )
    made = []
    for i, (question, answer, texts) in enumerate(zip(questions, answers, passages, strict=True)):
        if not question.strip() or not answer.strip():
            raise ValueError(f"question {i} or its answer is empty")
        made.append({"instruction": chat_prompt(question, texts), "input": "", "output": answer})
    return made


@dataclass
class Reader:
    """A language model that reads passages and answers.

    model, tokenizer: of a chat model; stop_tokens: ids that end an answer
    """

    model: Any
    tokenizer: Any
    stop_tokens: tuple[int, ...] = ()

    @classmethod
    def load(cls, name: str | Path = "smollm2-135m-instruct", **options: Any) -> Reader:
        """A chat model by its name or folder, or a run of finetune instruct from such a model.

        options: those of from_pretrained, such as quantize; not for a run
        Raises: ValueError if there is no such model, or its tokenizer has no chat template;
        StorageError if a run is damaged.
        """
        if options:
            loaded = TaskModel(
                language_model(name, **options), load_tokenizer(name), name=str(name)
            )
        else:
            loaded = TaskModel.load(name)
        model, tokenizer = loaded.model, loaded.tokenizer
        if not isinstance(model, LanguageModel):
            raise ValueError(f"{name} holds a {type(model).__name__}: give a chat model")
        if not isinstance(tokenizer, PipelineTokenizer) or "chat_template" not in tokenizer.names:
            raise ValueError(f"{name} has no chat template: give a model that was taught to answer")
        return cls(model, tokenizer, end_tokens(model, tokenizer))

    def prompt_ids(self, question: str, passages: Sequence[str], max_new_tokens: int) -> list[int]:
        """The ids of the prompt; the last passages go until it fits into the model's context.

        Raises: ValueError if the question alone is too long.
        """
        room = self.model.context_length - max_new_tokens
        for n in range(len(passages), -1, -1):
            content = chat_prompt(question, passages[:n])
            ids: list[int] = self.tokenizer.chat([{"role": "user", "content": content}])
            if len(ids) <= room:
                return ids
        raise ValueError(f"the question has {len(ids):,} tokens, there is room for {room:,}")

    def stream(
        self, question: str, passages: Sequence[Passage] | Sequence[str] = (),
        max_new_tokens: int = 100, sampling: Sampling | None = None, seed: int = 0,
    ) -> Iterator[str]:  # fmt: skip
        """The answer in pieces, each as soon as it is certain.

        passages: what the answer may use; sampling: None for the likeliest token each time
        Raises: ValueError as prompt_ids.
        """
        texts = [p.chunk.text if isinstance(p, Passage) else p for p in passages]
        return stream_text(
            self.model, self.prompt_ids(question, texts, max_new_tokens), max_new_tokens,
            tokenizer=self.tokenizer, sampling=sampling or Sampling(temperature=0.0), seed=seed,
            stop_tokens=self.stop_tokens,
        )  # fmt: skip

    def answer(self, question: str, passages: Sequence[Any] = (), **options: Any) -> str:
        """The whole answer, without blanks around it; the arguments are those of `stream`."""
        return "".join(self.stream(question, passages, **options)).strip()
