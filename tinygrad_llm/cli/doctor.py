"""tinygrad-llm doctor: what this machine has, how fast it is, and what would help."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..study.doctor import Report

__all__ = ["register"]

_HELP = """Show what this machine has, how fast it is, what slows it down, and what to do.

Takes a few seconds. Nothing is changed and nothing is downloaded. Each line begins with ok, note
(an optional piece is missing), slow (works, but could be faster) or broken (does not work); the
lines under it say what to do, with a command to copy after $.

Exit code: 0; 1 if something is broken, with --strict also if something is slow.

\b
Examples:
  tinygrad-llm doctor
  tinygrad-llm doctor --json > report.json
"""
_COLORS = {"ok": "32", "note": "36", "slow": "33;1", "broken": "31;1"}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="doctor", help=_HELP)(doctor)


def doctor(
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
    strict: bool = typer.Option(False, "--strict", help="Exit with 1 if something is slow."),
) -> None:
    """Examine this machine and print the report.

    Raises: typer.Exit with code 1 if something is broken, or with --strict slow.
    """
    from ..study.doctor import examine

    report = examine()
    if as_json:
        _say(json.dumps(report.as_dict(), ensure_ascii=False, indent=1))
    else:
        width = max(60, min(shutil.get_terminal_size().columns, 100))
        _say(text_of(report, width, _colored()))
    if report.worst == "broken" or (strict and report.worst == "slow"):
        raise typer.Exit(1)


def text_of(report: Report, width: int, colored: bool) -> str:
    """The report as lines: headings, findings, what to do, and a summary."""
    lines: list[str] = []
    area = ""
    for f in report.findings:
        if f.area != area:
            lines += ["", _paint(f.area, "1", colored)]
            area = f.area
        label = _paint(f"{f.severity:6}", _COLORS[f.severity], colored)
        first, *more = textwrap.wrap(f.text, width - 9) or [""]
        lines += [f"  {label} {first}", *(f"{'':9}{line}" for line in more)]
        lines += [f"{'':9}{line}" for line in textwrap.wrap(f.advice, width - 9)]
        if f.command:
            lines.append(f"{'':9}" + _paint(f"$ {f.command}", "1", colored))
    return "\n".join([*lines[1:], "", *textwrap.wrap(_summary(report), width)])


def _summary(report: Report) -> str:
    broken, slow = report.count("broken"), report.count("slow")
    parts = []
    if broken:
        parts.append(f"{broken} broken")
    if slow:
        parts.append(f"{slow} slow")
    text = f"{' and '.join(parts)}: the lines after $ repair them." if parts else (
        "All is well: nothing is broken and nothing is slow.")  # fmt: skip
    if any(f.area == "Environment" and f.severity == "slow" for f in report.findings):
        text += (
            " A variable comes back in the next terminal, unless you also remove it from the file "
            "that sets it (such as ~/.bashrc, ~/.profile or /etc/environment)."
        )
    return text


def _paint(text: str, code: str, colored: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colored else text


def _colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and (
        os.environ.get("TERM") != "dumb")  # fmt: skip


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
