"""tinygrad-llm finetune spend: what more tokens at inference buy, as a table and a plot."""

from __future__ import annotations

from typing import Any

import typer

from ...files.paths import local_path
from ...files.plain_text import say
from ..errors import BadValue, blame
from ..options import must_be

__all__ = ["HELP", "spend"]

HELP = """Spend more at inference: greedy, beams, votes, best of N, diverse beams, refinement.

BASE is a run, a folder or file of weights, or a published model. The questions are of one task or
several, made by this package: sums, addition, arithmetic, counting or words; or, where
reasoning-gym is installed (pip install --no-deps reasoning-gym==0.1.25), chain-sum, chain-sum-hard,
letter-counting or products. All ways have the same prompt. Accuracy is shown with its 95 % interval
against the tokens that were written, and drawn; what a way gains over one greedy answer is paired.
The tasks that are done stand in a .json file beside the picture: the same command continues after
them. A task that was stopped in its middle starts again.

\b
Examples:
  tinygrad-llm finetune spend smollm2-135m-instruct --task words
  tinygrad-llm finetune spend smollm2-135m-instruct --task words,counting,chain-sum
  tinygrad-llm finetune spend runs/grpo-sums-1 --task sums --samples 16 --no-steps
"""


def spend(
    base: str = typer.Argument(..., help="A run, or published weights."),
    task: str = typer.Option(
        "words", help="words, addition, counting, chain-sum, ...; or several."
    ),
    questions: int = typer.Option(40, help="Questions of each task."),
    samples: int = typer.Option(8, help="Answers that are drawn for each question."),
    temperature: float = typer.Option(0.8, help="Of the drawn answers."),
    answer_tokens: int = typer.Option(64, help="Tokens of an answer at most."),
    steps: bool = typer.Option(True, help="Ask for steps, and to refine; else the question alone."),
    beams: int = typer.Option(4, help="Of beam search, and answers of a diverse one; 0 for none."),
    seed: int = typer.Option(7, help="Of the questions and the draws."),
    plot: str = typer.Option("spending.png", help="Where the picture goes; answers beside it."),
) -> None:
    """Print accuracy against tokens for every way to answer, and draw it.

    Raises: BadValue for an option out of range.
    """
    from ...finetune.prompts import has_chat
    from ...finetune.reasoning import make_questions, plot_spending, table_of, together
    from ...finetune.reasoning import spend as ways_of
    from ...finetune.reasoning.inference import most_frequent, read_ways, write_ways
    from ...finetune.runs.base import load_base, padding_of
    from ...models.base import context_length_of
    from ...training.runs import counting

    must_be("questions", 1 <= questions <= 10**5, "between 1 and 100,000", questions)
    must_be("samples", 1 <= samples <= 1024, "between 1 and 1,024", samples)
    must_be("beams", 0 <= beams <= 64 and beams != 1, "0, or between 2 and 64", beams)
    must_be("temperature", 0 < temperature < 100, "above 0 and below 100", temperature)
    save = local_path(plot).with_suffix(".json") if plot.lower().endswith(".png") else None
    if save is None:
        raise BadValue(f"--plot must be the name of a .png file, got {plot!r}")
    with blame("--plot", OSError):
        save.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name.strip() for name in task.split(",")))
    with blame("--task", ValueError, ImportError):
        tasks = {name: make_questions(name, questions, seed) for name in names}
    loaded = load_base(base, say)
    context = context_length_of(loaded.model)
    must_be(
        "answer-tokens", 1 <= answer_tokens < (context or 10**6), "below the context", answer_tokens
    )
    style = "chat" if has_chat(loaded.tokenizer) else "plain"
    options: dict[str, Any] = {
        "samples": samples, "temperature": temperature, "answer_tokens": answer_tokens,
        "steps": steps, "beams": beams, "diverse": beams, "seed": seed,
    }  # fmt: skip
    settings = {"base": base, "weights": loaded.fingerprint, "questions": questions, **options}
    known: dict[str, Any] = {}
    try:
        known = read_ways(save, settings)
    except ValueError as error:
        say(f"note         {error}; it is written anew")
    ways = {}
    for name, entries in tasks.items():
        if name not in known:
            with blame("--task", ValueError):
                known[name] = ways_of(
                    loaded.model, loaded.tokenizer, entries, style,
                    end=padding_of(loaded.tokenizer),
                    note=counting(say, f"{name:<12} {{done}} of {{of}} answered"), **options,
                )  # fmt: skip
            with blame("--plot", OSError):
                write_ways(save, settings, known)
        ways[name] = [*known[name], most_frequent(entries)]
    shown = dict(ways)
    if len(ways) > 1:
        shown["all tasks"] = together(ways)
    for name, some in shown.items():
        n = len(some[0].rights)
        say(
            f"\n{n} questions of {name}, seed {seed}; 95 % intervals\n\n"
            + "\n".join(table_of(some))
        )
    say(f"\nplot         {plot_spending(shown, plot, base)}")
