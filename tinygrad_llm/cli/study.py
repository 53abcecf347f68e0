"""tinygrad-llm study, trace, draw: the instruments of tinygrad_llm.study from the command line."""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..files.paths import local_path
from ..files.plain_text import say
from ..files.program import command_line
from .errors import BadValue
from .options import must_be

if TYPE_CHECKING:
    from ..models.gpt import GPT
    from ..tensor import Tensor

__all__ = ["register"]

_STUDY = """Explain an op, layer, loss, model, optimizer, schedule or collective, or list them all.

The formula and the backward pass, the code, a worked example with every saved array and gradient,
the memory it keeps at GPT-2's shapes, its slow twin, and a gradient check.

\b
Examples:
  tinygrad-llm study
  tinygrad-llm study layer_norm
  tinygrad-llm study TransformerBlock --html block.html
  tinygrad-llm study AdamW
  tinygrad-llm study WarmupCosineLR
  tinygrad-llm study all_gather
"""
_TRACE = """Run a script and show what every op and every module in it did, forward and backward.

SCRIPT is a Python file, or `gpt` for a small GPT's training step. What follows are the script's
arguments.

\b
Examples:
  tinygrad-llm trace gpt
  tinygrad-llm trace train.py --by module
  tinygrad-llm trace train.py --html trace.html --plot trace.png
"""
_DRAW = """Draw the graph behind a loss, and the backward pass through it, as SVG and as a page.

WHAT is a Python file, whose variable `loss` is drawn when it has run (or another one, with
--tensor), or one of the examples: scalar, attention, gpt, or the name of a layer, a model, an
optimizer or a schedule that `study` lists, such as GatedDeltaNet, Llama or AdamW. `training` is a
page that trains a model of seven numbers step by step, `masks` one that shows padding and causal
masks in an encoder and a decoder.

\b
Examples:
  tinygrad-llm draw attention
  tinygrad-llm draw training
  tinygrad-llm draw Llama
  tinygrad-llm draw AdamW
  tinygrad-llm draw train.py --tensor loss --out graph
"""


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command(name="study", help=_STUDY)(study)
    app.command(name="trace", help=_TRACE)(trace_command)
    app.command(name="draw", help=_DRAW)(draw_command)


def study(
    name: str | None = typer.Argument(None, help="layer_norm, Linear, AdamW, ...; none lists all."),
    html: str | None = typer.Option(None, help="Write a page to this file instead."),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
    width: int | None = typer.Option(None, help="Columns of the output [the terminal's]."),
) -> None:
    """Explain one op, layer, loss, optimizer or schedule, or list all of them.

    Raises: BadValue if nothing has the name; typer.Exit with code 1 if a gradient is wrong.
    """
    wide = width is None or 1 <= width <= 10_000
    must_be("width", wide, "between 1 and 10,000", width)
    from ..study.explain.explanation import explain
    from ..study.explain.names import catalogue
    from ..study.explain.text import listing

    if name is None:
        if html is not None:
            raise BadValue("--html needs the NAME to explain")
        if as_json:
            families = {k: [list(pair) for pair in v] for k, v in catalogue().items()}
            _say(json.dumps(families, ensure_ascii=False, indent=1))
            return
        _say(listing(width, _colors()))
        _say(f"\n{command_line('study')} NAME explains one of them")
        return
    try:
        explanation = explain(name)
    except ValueError as error:
        raise BadValue(str(error).removeprefix("explain: ")) from error
    if html is not None:
        explanation.html(html)
        _say(f"wrote {html}")
    elif as_json:
        _say(json.dumps(explanation.as_dict(), ensure_ascii=False, indent=1))
    else:
        _say(explanation.text(width, _colors()))
    if not explanation.right:
        raise typer.Exit(1)


def trace_command(
    script: str = typer.Argument(help="A Python file, or gpt."),
    arguments: list[str] | None = typer.Argument(None, help="The script's own arguments."),
    by: str = typer.Option("op", help="The table's rows: op, module, flops, communication."),
    html: str | None = typer.Option(None, help="Write a page to this file."),
    plot: str | None = typer.Option(None, help="Write the plot to this PNG file."),
    as_json: bool = typer.Option(False, "--json", help="Print the records as JSON."),
) -> None:
    """Run a script and print what each op took.

    Raises: BadValue if there is no such file, or --by is not one of the four.
    """
    from ..study.explain.explanation import plain_data
    from ..study.trace.recording import trace

    if by not in ("op", "module", "flops", "communication"):
        raise BadValue(f"--by is op, module, flops or communication, got {by}")
    if script == "gpt":
        model, inputs, targets = _small_gpt()
        with trace(model) as t:
            model.loss(inputs, targets).backward()
    else:
        path = _file(script)
        with trace() as t:
            _run(path, arguments or [])
    if as_json:
        _say(json.dumps(plain_data(t.as_dict()), ensure_ascii=False))
    else:
        _say(t.table(by))
        if not t.ops:
            _say("no op of tinygrad_llm ran")
    if html is not None:
        t.html(html)
    if plot is not None:
        t.plot(plot)
    for file in (html, plot):
        if file is not None and not as_json:
            _say(f"wrote {file}")


def draw_command(
    what: str = typer.Argument(help="A Python file, or scalar, attention, gpt, a layer, AdamW."),
    tensor: str = typer.Option("loss", help="The script's variable to draw."),
    out: str | None = typer.Option(None, help="Where to write, .svg and .html [WHAT's name]."),
    fold: int | None = typer.Option(None, help="Close boxes at this depth and deeper."),
) -> None:
    """Draw the graph behind a script's variable, or one of the examples.

    Raises: BadValue if the script has no such variable, the variable no graph, or --out another
    ending than .svg and .html.
    """
    from ..study.draw.drawing import Drawing, draw
    from ..study.draw.graph import Recorder
    from ..study.draw.scenes import SCENES
    from ..study.explain.scene import drawn_example

    if what in SCENES:
        drawing: Any = SCENES[what](fold)
        stem = what
    elif not what.endswith(".py") and not local_path(what).is_file():
        try:
            drawing = drawn_example(what, fold)
        except ValueError as error:
            examples = ", ".join(SCENES)
            text = str(error).removeprefix("explain: ")
            raise BadValue(
                f"there is no file {what}, nor an example of this name ({examples}); {text}"
            ) from error
        stem = what
    else:
        path = _file(what, f", nor an example of this name; the examples: {', '.join(SCENES)}")
        recorder = Recorder()
        with recorder:
            names = _run(path, [])
        if tensor not in names:
            raise BadValue(f"{what} has no variable {tensor}: name another with --tensor")
        try:
            drawing = draw(names[tensor], recorder=recorder, names=names, fold=fold)
        except (TypeError, RuntimeError) as error:
            raise BadValue(f"{tensor}: {error}".replace("draw: ", "")) from error
        stem = path.stem
    try:
        written = drawing.save(out or stem)
    except ValueError as error:
        raise BadValue(f"--out: {error}") from error
    _say("wrote " + " and ".join(map(str, written)))
    if isinstance(drawing, Drawing) and not drawing.steps:
        _say(
            "without the backward pass: backward() has freed what the ops had saved; draw a script "
            "that stops before it, or calls backward(retain_graph=True)"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _colors() -> bool:
    return sys.stdout.isatty()


def _file(name: str, otherwise: str = "") -> Path:
    path = local_path(name)
    if not path.is_file():
        raise BadValue(f"there is no file {name}{otherwise}")
    return path


def _run(path: Path, arguments: list[str]) -> dict[str, Any]:
    """Run a script as `python FILE` does and return its variables; its traceback is printed."""
    before = sys.argv[:], sys.path[:]
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        return runpy.run_path(str(path), run_name="__main__")
    except Exception as error:
        inner = error.__traceback__
        while inner is not None and inner.tb_frame.f_code.co_filename != str(path):
            inner = inner.tb_next
        say("".join(traceback.format_exception(type(error), error, inner)), "", sys.stderr)
        raise typer.Exit(1) from error
    finally:
        sys.argv, sys.path[:] = before


def _small_gpt() -> tuple[GPT, Tensor, Tensor]:
    from ..study.draw.scenes import small_gpt

    return small_gpt()
