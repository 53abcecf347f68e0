"""tinygrad-llm chat: a conversation with a model in the terminal."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from ..files.json_files import write_json
from ..files.paths import local_path
from ..files.plain_text import say
from ..files.program import command_line
from .errors import blame, print_error
from .generate import (
    check_weights,
    model_flags,
    random_seed,
    read_model,
    sampling_of,
    show,
)
from .options import must_be, with_flags

__all__ = ["register"]

_HELP = """Talk with a model that has a chat template.

MODEL is a run of finetune instruct --style chat or one of its checkpoints; a folder in Hugging
Face's layout or a .gguf file; or the name of a published model (tinygrad-llm models list). Without
it, the run in runs/ that was saved last is used.

Ctrl-C stops an answer, Ctrl-D or /exit leaves, /help lists the commands. Without a terminal every
line of standard input is a message; answers go to standard output, all else to standard error.

\b
Examples:
  tinygrad-llm chat smollm2-135m-instruct
  tinygrad-llm chat smollm2-135m-instruct --system "Answer in one sentence." --temperature 0
  echo "What is the capital of France?" | tinygrad-llm chat smollm2-135m-instruct
"""
_COMMANDS = """/system TEXT        what the model should be; /system alone shows it
/temperature NUMBER 0 is greedy; a higher value is more varied
/reset              a new conversation
/save FILE          write the conversation as JSON
/help               this list
/exit               leave, as Ctrl-D does
A message that begins with a slash: write two."""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="chat", help=_HELP)(with_flags(chat, model_flags(True)))


def chat(
    model: str | None = typer.Argument(None, help="A run, a folder, a file, or a name."),
    system: str | None = typer.Option(None, help="What the model should be."),
    tokens: int = typer.Option(512, help="The most tokens of an answer."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
    calculator: bool = typer.Option(False, help="Answers may call it: <<12*3= becomes 36>>."),
    **more: Any,
) -> None:
    """Talk with a model until the end of the input.

    Raises: BadValue if the model has no chat template or an option is out of range; typer.Exit with
    1 if there is no terminal and a line could not be answered.
    """
    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    weights = check_weights(more, device)
    seed = more.pop("seed")
    must_be("seed", seed is None or 0 <= seed < 2**63, "0 or more (below 2^63)", seed)
    sampling = sampling_of(more)
    from ..generation import Calculator, Conversation

    loaded, tokenizer = read_model(model, **weights)
    with blame("--quantize", NotImplementedError):
        loaded.to(device)
    if calculator:
        system = " ".join(part for part in (system, Calculator().instruction) if part)
    with blame("--system" if system is not None else "MODEL", ValueError):
        _check_template(tokenizer)
        talk = Conversation(
            loaded, tokenizer, system, sampling, tokens, random_seed() if seed is None else seed,
            Calculator() if calculator else None,
        )  # fmt: skip
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        say("Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands.", file=sys.stderr)
    session = _Session(talk, model)
    for line in _lines(terminal):
        if session.take(line):
            break
    if session.failed and not terminal:
        raise typer.Exit(1)


def _check_template(tokenizer: Any) -> None:
    """Raises: ValueError if the tokenizer has no chat template."""
    from ..text import PipelineTokenizer

    if not (isinstance(tokenizer, PipelineTokenizer) and tokenizer.names.get("chat_template")):
        raise ValueError(
            f"the tokenizer {tokenizer.name} has no chat template: use {command_line('generate')}, "
            "or a model that was trained for conversations"
        )
    tokenizer.chat([{"role": "user", "content": "Hello"}])  # jinja2 may be missing


# ------------------------------------------------------------------------------------- the lines
def _lines(terminal: bool) -> Iterator[str]:
    """The lines that the user enters, without their ends, until the input ends."""
    if not terminal:
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    try:
        import readline  # noqa: F401  # input() then edits lines and has a history
    except ImportError:  # Windows: the console does that itself
        pass
    while True:
        try:
            line = input("> ")
        except EOFError:
            say()
            return
        except KeyboardInterrupt:
            say("\n(Ctrl-D or /exit leaves)", file=sys.stderr)
            continue
        yield line


@contextmanager
def _ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `stop`, another one raises KeyboardInterrupt."""

    def handle(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread: Ctrl-C does not arrive here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# ----------------------------------------------------------------------------------- the session
class _Session:
    """What is done with each line: a command, or a message that the model answers."""

    def __init__(self, talk: Any, name: str | None) -> None:
        self.talk, self.name = talk, name
        self.failed = False
        self._saved: set[Path] = set()
        self._dropped = 0

    def take(self, line: str) -> bool:
        """Does what a line asks for; returns whether to leave."""
        if not line.strip():
            return False
        if line.startswith("/") and not line.startswith("//"):
            word, _, rest = line[1:].partition(" ")
            return self._command(word.strip(), rest.strip())
        self._answer(line[1:] if line.startswith("//") else line)
        return False

    def _answer(self, text: str) -> None:
        talk = self.talk
        try:
            with _ctrl_c(talk.stop), closing(talk.ask(text)) as pieces:
                for piece in pieces:
                    show(piece)
        except KeyboardInterrupt:
            pass
        except ValueError as error:  # too long, or the template refuses it
            self._fail(str(error))
            return
        show("\n")
        self._report()

    def _report(self) -> None:
        turn = self.talk.turn
        if turn.dropped > self._dropped:
            self._note(
                f"the context of {self.talk.model.context_length} tokens is full: the model does "
                f"not see the first {turn.dropped} messages any more"
            )
        self._dropped = turn.dropped
        ended = {
            "tokens": "; cut off after --tokens",
            "context": "; cut off: the context is full, /reset starts again",
            "stopped": "; stopped",
        }.get(turn.ended, "")
        self._note(
            f"{turn.prompt_tokens} tokens of prompt, {turn.computed_tokens} of them new; "
            f"{turn.new_tokens} tokens written, {turn.tokens_per_second:.1f} tokens/s{ended}"
        )

    def _command(self, word: str, rest: str) -> bool:
        talk = self.talk
        if word in ("exit", "quit", "bye"):
            return True
        if word in ("help", "?"):
            say(_COMMANDS, file=sys.stderr)
        elif word == "reset":
            talk.reset()
            self._dropped = 0
            self._note("a new conversation")
        elif word == "system":
            if rest:
                talk.system = rest
            self._note(
                f"system: {'(what the template has)' if talk.system is None else talk.system}"
            )
        elif word == "temperature":
            self._temperature(rest)
        elif word == "save":
            self._save(rest)
        else:
            self._fail(f"there is no command /{word}: /help lists them")
        return False

    def _temperature(self, value: str) -> None:
        if value:
            try:
                self.talk.sampling = replace(self.talk.sampling, temperature=float(value))
            except ValueError:
                self._fail(f"/temperature must be a finite number of at least 0, got {value}")
                return
        self._note(f"temperature: {self.talk.sampling.temperature:g}")

    def _save(self, name: str) -> None:
        if not name:
            self._fail("/save needs the name of a file: /save talk.json")
            return
        system = [{"role": "system", "content": self.talk.system}] if self.talk.system else []
        written = {"model": self.name, "messages": [*system, *self.talk.messages]}
        try:
            path = local_path(name)
            if path.exists() and path.resolve() not in self._saved:
                raise ValueError(f"{name} exists: choose another name")
            write_json(path, written)
            self._saved.add(path.resolve())
        except (OSError, ValueError) as error:
            self._fail(f"/save: {error}")
            return
        self._note(f"{len(self.talk.messages)} messages in {name}")

    def _fail(self, message: str) -> None:
        self.failed = True
        print_error(message)

    @staticmethod
    def _note(text: str) -> None:
        say(f"({text})", file=sys.stderr)
