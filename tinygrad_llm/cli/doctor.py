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

--check only lists the packages, with the version that each must have and OK, FAIL, or - for one
that is absent and needed for an extra alone.

Exit code: 0; 1 if something is broken, with --strict also if something is slow, with
--check if a package fails.

\b
Examples:
  tinygrad-llm doctor
  tinygrad-llm doctor --json > report.json
  tinygrad-llm doctor --check
"""
_COLORS = {"ok": "32", "note": "36", "slow": "33;1", "broken": "31;1"}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="doctor", help=_HELP)(doctor)


def doctor(
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
    strict: bool = typer.Option(False, "--strict", help="Exit with 1 if something is slow."),
    check: bool = typer.Option(False, "--check", help="Only list packages and their versions."),
) -> None:
    """Examine this machine and print the report.

    Raises: typer.Exit with code 1 if something is broken, or with --strict slow.
    """
    if check:
        _check(as_json)
        return
    from ..study.doctor import examine

    report = examine()
    if as_json:
        _say(json.dumps(report.as_dict(), ensure_ascii=False, indent=1))
    else:
        width = max(60, min(shutil.get_terminal_size().columns, 100))
        _say(text_of(report, width, _colored()))
    if report.worst == "broken" or (strict and report.worst == "slow"):
        raise typer.Exit(1)


def _check(as_json: bool) -> None:
    """Print the packages.

    Raises: typer.Exit with code 1 if one fails; BadValue if nothing says which are needed.
    """
    from dataclasses import asdict

    from ..study.doctor.packages import package_rows
    from .errors import blame

    with blame("--check", LookupError):
        rows = package_rows()
    if as_json:
        _say(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=1))
    else:
        cells = [
            (row.state, row.name, row.needed, row.installed or "absent", row.extra) for row in rows
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            _say("  ".join(cell.ljust(n) for cell, n in zip(line, widths, strict=True)).rstrip())
    failed = [row.name for row in rows if row.state == "FAIL"]
    if failed:
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
