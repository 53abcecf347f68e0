"""tinygrad-llm make-data: training data that a model behind a server writes."""

from __future__ import annotations

from typing import Any

import typer

from ..files.plain_text import one_line, say
from .chat_flags import FLAGS, asked, client_of, need_budget, note
from .errors import BadValue, blame
from .options import must_be, with_flags

__all__ = ["register"]

_HELP = """Let a language model write training data, over HTTP.

\b
KIND:
  instructions   --count new tasks with answers, after the tasks of FILE as examples
                 (without FILE: after tasks of this package)
  preferences    a more and a less polite answer to each entry, for finetune dpo
  passive        each answer in the passive voice, as output_2
  reflect        a better task in place of each, and its answer
  refine         remarks on each answer, then an improved one
FILE holds a JSON list of entries: instruction, input (may be missing) and output.

Entries as near to an earlier one as --threshold (the cosine of runs of 1 to 3 characters) are left
out, and so are replies that cannot be used; both are listed. Every reply is kept in --out: after a
failure or Ctrl-C the same command asks only for the rest.

\b
Examples:
  tinygrad-llm make-data instructions --count 50 --model llama3 \\
      --server http://localhost:11434 --protocol ollama
  tinygrad-llm make-data refine entries.json --model llama3 --plan
"""
_INSTRUCTIONS = "instructions"


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="make-data", help=_HELP)(with_flags(make_data, FLAGS))


def make_data(
    kind: str = typer.Argument(..., help="What to make."),
    file: str | None = typer.Argument(None, help="A JSON file of entries."),
    count: int = typer.Option(20, help="Of instructions: how many."),
    limit: int | None = typer.Option(None, help="Take the first entries of FILE only."),
    threshold: float = typer.Option(0.9, help="Near-duplicates from here on; 0 keeps all."),
    temperature: float | None = typer.Option(None, help="Of the replies. [by the kind]"),
    seed: int = typer.Option(0, help="Of the examples and styles that are drawn."),
    out: str = typer.Option("made-data", help="A folder for replies and entries."),
    plan: bool = typer.Option(False, "--plan", help="Only print what it would cost."),
    **more: Any,
) -> None:
    """Write the entries, and print what was left out and the cost.

    Raises: BadValue for options, a file or a server that cannot be used.
    """
    from ..finetune.written_data import KINDS, estimate, new_entries, rewrite_entries

    kinds = (_INSTRUCTIONS, *KINDS)
    must_be("limit", limit is None or limit >= 1, "at least 1", limit)
    must_be("count", 1 <= count <= 10**6, "between 1 and 1,000,000", count)
    must_be("threshold", 0 <= threshold <= 1, "between 0 and 1", threshold)
    must_be("temperature", temperature is None or 0 <= temperature <= 10, "between 0 and 10",
            temperature)  # fmt: skip
    if kind not in kinds:
        raise BadValue(f"KIND {kind!r}: give one of {', '.join(kinds)}")
    if temperature is None:
        temperature = KINDS[kind].temperature if kind in KINDS else 0.8
    client = client_of(more, f"{out}/replies", temperature)
    with blame("FILE", ValueError):
        entries = _entries(kind, file)[:limit]
    least = threshold or None
    expected = estimate(client, kind, entries, more["reply_tokens"], count=count, seed=seed,
                        threshold=least)  # fmt: skip
    say(f"about        {expected}")
    need_budget(more, expected)
    if plan:
        return
    with asked(out):
        if kind == _INSTRUCTIONS:
            made = new_entries(client, entries, count, seed=seed, threshold=least, note=note)
        else:
            made = rewrite_entries(client, kind, entries, seed=seed, threshold=least, note=note)
    _store(out, made, client)


def _entries(kind: str, file: str | None) -> list[dict[str, str]]:
    """The entries of a file, or those of the package as examples.

    Raises: ValueError if there is none, or one cannot be used.
    """
    from ..finetune.files import read_entries
    from ..finetune.sample_texts import instructions

    if file is None:
        if kind != _INSTRUCTIONS:
            raise ValueError(f"{kind} needs a file of entries")
        return instructions(40)
    return read_entries(file, ("instruction", "output"))


def _store(out: str, made: Any, client: Any) -> None:
    from ..files.json_files import write_json
    from ..files.paths import local_path

    folder = local_path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "entries.json", made.entries)
    write_json(folder / "left_out.json", [{"number": i, "why": why} for i, why in made.left_out])
    say(f"made         {len(made.entries):,} entries, {len(made.left_out):,} left out")
    for i, why in made.left_out[:3]:
        say(f"  {i}: {one_line(why)[:200]}")
    say(f"asked        {client.usage}")
    say(f"entries      {one_line(str(folder / 'entries.json'))}")
