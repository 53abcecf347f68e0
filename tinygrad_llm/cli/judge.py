"""tinygrad-llm judge: a language model behind a server grades answers."""

from __future__ import annotations

import itertools
import re
from typing import Any

import typer

from ..files.plain_text import one_line, say
from .chat_flags import FLAGS, asked, client_of, need_budget, note
from .errors import blame
from .options import must_be, with_flags

__all__ = ["register"]

_HELP = """Let a language model grade answers, over HTTP.

FILE holds a JSON list of entries: instruction, input (may be missing), output (a correct answer),
and one or more answers under other names, such as "model 1 response".

Each answer gets a score, or with --pairwise each two answers are compared, in both orders: where
the two verdicts disagree it is a draw. Every reply is kept in --out: after a failure or Ctrl-C the
same command asks only for the rest. A key is read from the environment variable that --key names,
and is neither written nor printed.

\b
Examples:
  tinygrad-llm judge answers.json --model llama3 --server http://localhost:11434 --protocol ollama
  tinygrad-llm judge answers.json --model llama3 --pairwise --plan
  tinygrad-llm judge answers.json --server https://api.openai.com/v1 --key OPENAI_API_KEY \\
      --model gpt-4o-mini --price-read 0.15 --price-written 0.6 --budget 1
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="judge", help=_HELP)(with_flags(judge, FLAGS))


def judge(
    file: str = typer.Argument(..., help="A JSON file of entries with answers."),
    answers: list[str] | None = typer.Option(None, help="Answers' names; may be repeated. [all]"),
    pairwise: bool = typer.Option(False, "--pairwise", help="Compare answers two by two."),
    scale: str = typer.Option("0-100", help="Of the scores, such as 1-10."),
    limit: int | None = typer.Option(None, help="Judge the first entries only."),
    out: str = typer.Option("judged", help="A folder for replies and results."),
    baseline: bool = typer.Option(
        False, "--baseline", help="Grade the correct answers too, and those of other entries."
    ),
    plan: bool = typer.Option(False, "--plan", help="Only print what it would cost."),
    **more: Any,
) -> None:
    """Print the judge's scores or votes, with intervals and the cost.

    Raises: BadValue for options, a file or a server that cannot be used.
    """
    from ..evaluation.judge import Judge

    must_be("limit", limit is None or limit >= 1, "at least 1", limit)
    low, high = _scale(scale)
    client = client_of(more, f"{out}/replies")
    with blame("FILE", ValueError):
        questions, names = _read(file, answers, pairwise)
    questions = questions[:limit]
    if baseline:
        must_be("baseline", not pairwise, "without --pairwise, where 0.5 is the baseline", True)
        questions, names = _with_baselines(questions, names)
    grader = Judge(client, low, high)
    prompts: list[str] = []
    for each in itertools.combinations(names, 2) if pairwise else ():
        prompts += grader.compare_prompts(questions, *each)
    for name in () if pairwise else names:
        prompts += grader.score_prompts(questions, name)
    expected = grader.estimate(prompts, more["reply_tokens"])
    say(f"at most      {expected}")
    need_budget(more, expected)
    if not plan:
        _run(grader, questions, names, pairwise, out)


def _scale(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text)
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    must_be("scale", low < high, "two numbers such as 0-100, the lower one first", text)
    return float(low), float(high)


def _read(file: str, answers: list[str] | None, pairwise: bool) -> tuple[list[Any], list[str]]:
    """The entries of a file, and the names of the answers to judge.

    Raises: ValueError if they cannot be judged.
    """
    from ..evaluation.judge import as_questions
    from ..files.json_files import read_json

    value = read_json(file)
    questions = as_questions(value, answers or ())
    names = list(dict.fromkeys(answers or ()))
    if not answers:
        known = ("instruction", "input", "output")
        names = [name for name in questions[0] if name not in known]
        as_questions(value, names)
    if len(names) < 1 + pairwise:
        raise ValueError(f"{file} has {len(names)} answers to judge: two answers are needed for "
                         "--pairwise, one without")  # fmt: skip
    return questions, names


def _with_baselines(questions: list[Any], names: list[str]) -> tuple[list[Any], list[str]]:
    """The entries with two answers more, which show the ends of the scale that the judge uses."""
    others = [*questions[1:], questions[0]]
    added = [
        {**entry, "(correct answer)": entry["output"], "(answer of another)": other["output"]}
        for entry, other in zip(questions, others, strict=True)
    ]
    return added, [*names, "(correct answer)", "(answer of another)"]


def _run(grader: Any, questions: list[Any], names: list[str], pairwise: bool, out: str) -> None:
    """Judge, print and store.

    Raises: BadValue if the server does not answer.
    """
    from ..files.json_files import finite, write_json
    from ..files.paths import local_path

    with asked(out):
        results = (_pairs if pairwise else _scores)(grader, questions, names)
    folder = local_path(out)
    folder.mkdir(parents=True, exist_ok=True)
    usage = grader.client.usage
    results["judge"] = {"model": grader.client.model, "server": grader.client.address,
                        "usage": str(usage)}  # fmt: skip
    write_json(folder / "results.json", finite(results))
    say(f"asked        {usage}")
    say(f"results      {folder / 'results.json'}")


def _scores(grader: Any, questions: list[Any], names: list[str]) -> dict[str, Any]:
    """Print and return the scores of each answer."""
    from ..evaluation.intervals import paired_difference

    results: dict[str, Any] = {}
    for name in names:
        scores = grader.score(questions, name, note)
        interval = scores.interval()
        mean = f"{interval} of {grader.high:g}" if scores.read else "no mean"
        say(f"{one_line(name)}: {mean}, {len(scores.read)} scores, "
            f"{scores.unread} replies with no score")  # fmt: skip
        results[name] = {"mean": interval.value, "low": interval.low, "high": interval.high,
                         "unread": scores.unread, "scores": scores.scores,
                         "replies": scores.texts}  # fmt: skip
    for a, b in itertools.combinations(names, 2):
        both = [(x, y) for x, y in zip(results[a]["scores"], results[b]["scores"], strict=True)
                if x is not None and y is not None]  # fmt: skip
        if both:
            change = paired_difference([x for x, _ in both], [y for _, y in both])
            say(f"{one_line(a)} minus {one_line(b)}: {change} (0 in it: may be chance)")
    return {"scores": results}


def _pairs(grader: Any, questions: list[Any], names: list[str]) -> dict[str, Any]:
    """Print and return the votes of each pair, and the ratings of all."""
    from ..evaluation.ratings import bradley_terry_intervals, elo

    results, votes = [], []
    for a, b in itertools.combinations(names, 2):
        pair = grader.compare(questions, a, b, note)
        rate = pair.win_rate()
        wins = f"wins {rate} (0.5: equally good)" if pair.read else "no votes"
        say(f"{one_line(a)} against {one_line(b)}: {wins}, "
            f"{pair.disagreed} draws by disagreement, {pair.unread} without a verdict")  # fmt: skip
        results.append({"first": a, "second": b, "win_rate": rate.value, "low": rate.low,
                        "high": rate.high, "disagreed": pair.disagreed, "unread": pair.unread,
                        "votes": pair.votes, "replies": pair.texts})  # fmt: skip
        votes += pair.read
    if votes:
        ratings = elo(votes)
        say("Elo          " + ", ".join(f"{one_line(n)} {r:.1f}" for n, r in ratings.items()))
        try:
            strengths = bradley_terry_intervals(votes)
            say("Bradley-Terry " + ", ".join(
                f"{one_line(n)} {r.value:.1f} [{r.low:.1f}, {r.high:.1f}]"
                for n, r in strengths.items()))  # fmt: skip
        except ValueError as error:
            say(f"Bradley-Terry {error}")
    return {"pairs": results}
