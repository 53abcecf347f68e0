"""tinygrad-llm finetune spend: what more tokens at inference buy, as a table and a plot."""

from __future__ import annotations

import typer

from ...files.plain_text import say
from ..errors import blame
from ..options import must_be

__all__ = ["HELP", "spend"]

HELP = """Spend more at inference: greedy, step by step, votes, best of N, diverse beams.

BASE is a run, a folder or file of weights, or a published model. The questions are a task made by
this package: sums, addition, arithmetic, counting or words; or, where reasoning-gym is installed
(pip install --no-deps reasoning-gym==0.1.25), chain-sum, chain-sum-hard, letter-counting or
products. Accuracy is shown with its 95 % interval against the tokens that were written, and drawn.

\b
Examples:
  tinygrad-llm finetune spend smollm2-135m-instruct --task words
  tinygrad-llm finetune spend smollm2-135m-instruct --task chain-sum --answer-tokens 24
  tinygrad-llm finetune spend runs/grpo-sums-1 --task sums --samples 16 --no-steps
"""


def spend(
    base: str = typer.Argument(..., help="A run, or published weights."),
    task: str = typer.Option("words", help="words, addition, counting, chain-sum, ..."),
    questions: int = typer.Option(40, help="Questions of the task."),
    samples: int = typer.Option(8, help="Answers that are drawn for each question."),
    temperature: float = typer.Option(0.8, help="Of the drawn answers."),
    answer_tokens: int = typer.Option(96, help="Tokens of an answer at most."),
    steps: bool = typer.Option(True, help="Ask for steps before drawn answers."),
    diverse: int = typer.Option(4, help="Answers of diverse beam search; 0 leaves it out."),
    seed: int = typer.Option(7, help="Of the questions and the draws."),
    plot: str = typer.Option("spending.png", help="Where the picture goes."),
) -> None:
    """Print accuracy against tokens for every way to answer, and draw it.

    Raises: BadValue for an option out of range.
    """
    from ...finetune.prompts import has_chat
    from ...finetune.reasoning import make_questions, plot_spending
    from ...finetune.reasoning import spend as ways_of
    from ...finetune.runs.base import load_base, padding_of
    from ...models.base import context_length_of
    from ...training.runs import counting

    must_be("questions", 1 <= questions <= 10**5, "between 1 and 100,000", questions)
    must_be("samples", 1 <= samples <= 1024, "between 1 and 1,024", samples)
    must_be("diverse", 0 <= diverse <= 64, "between 0 and 64", diverse)
    must_be("temperature", 0 < temperature < 100, "above 0 and below 100", temperature)
    with blame("--task", ValueError, ImportError):
        entries = make_questions(task, questions, seed)
    loaded = load_base(base, say)
    context = context_length_of(loaded.model)
    must_be(
        "answer-tokens", 1 <= answer_tokens < (context or 10**6), "below the context", answer_tokens
    )
    style = "chat" if has_chat(loaded.tokenizer) else "plain"
    ways = ways_of(
        loaded.model, loaded.tokenizer, entries, style, end=padding_of(loaded.tokenizer),
        samples=samples, temperature=temperature, answer_tokens=answer_tokens, steps=steps,
        diverse=diverse, seed=seed, note=counting(say, "answering    {done} of {of}"),
    )  # fmt: skip
    say(f"\n{len(entries)} questions of {task}, seed {seed}; right answers with 95 % intervals")
    for way in ways:
        say(f"  {way.name:<32} {way.accuracy()}  {way.tokens:8.1f} tokens per question")
    say(f"plot         {plot_spending(ways, plot, f'{base}, {task}')}")
