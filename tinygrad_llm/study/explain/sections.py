"""An explanation as sections of a few kinds of parts: what the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..common.lines import shown_values
from ..common.numbers import (
    bytes_text,
    number_text,
    shape_text,
    value_text,
)

LAYER_LIMIT = 24  # elements: a layer has many arrays, so larger ones are shown as shape and range

__all__ = ["Code", "Doc", "Grid", "Lines", "Prose", "Section", "Sides", "Voices", "sections"]


@dataclass
class Prose:
    """Text whose line breaks and indentation are kept."""

    text: str


class Doc(Prose):
    """A docstring: text whose formulas and arguments a page can show as such."""


@dataclass
class Code:
    """Python source under a heading."""

    title: str
    text: str


@dataclass
class Voices:
    """Steps, each in plain words and exactly: (step, in plain words, the formula)."""

    rows: list[tuple[str, str, str]]


@dataclass
class Sides:
    """Two pieces of code, side by side where there is room."""

    left: Code
    right: Code


@dataclass
class Grid:
    """A table, whose cells may have several lines."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()  # columns of numbers


@dataclass
class Lines:
    """Statements that ran, with the values that they set."""

    title: str
    rows: list[tuple[str, str]]


@dataclass
class Section:
    """A heading and the parts under it."""

    title: str
    parts: list[Any] = field(default_factory=list)


def sections(data: dict[str, Any]) -> list[Section]:
    """The sections of an explanation's data."""
    kinds = {"op": _of_op, "layer": _of_layer, "optimizer": _of_optimizer}
    kind = {**kinds, "collective": _of_collective, "schedule": _of_schedule}[data["kind"]]
    return [section for section in kind(data) if section.parts]


# ---------------------------------------------------------------------------------------- an op
def _of_op(data: dict[str, Any]) -> list[Section]:
    options = ", ".join(f"{o['name']}={o['default']!r}" for o in data["options"])
    result = [
        Section(
            "Signature",
            [
                Prose(
                    data["signature"]
                    + (f"\noptions: {options}" if options else "")
                    + (
                        "\nshapes broadcast; the engine sums the copies' gradients"
                        * data["broadcasts"]
                    )
                )
            ],
        ),
        Section("In plain words, and exactly", [Voices(data["voices"])] if data["voices"] else []),
        Section("What it does, and its backward pass", [Doc(data["doc"])]),
        Section(
            "The code",
            [Sides(Code("forward", data["forward"]), Code("backward", data["backward"]))],
        ),
        Section("A worked example", _worked_op(data["example"])),
        Section("What it keeps for backward", _memory(data["memory"], data["note"])),
    ]
    if data["twin"]:
        result.append(Section("The same without the formula: the slow twin", _twin(data)))
    table = [[m["name"], m["sentence"]] for m in data["mistakes"]]
    if table:
        result.append(Section("Mistakes that people make here", [Grid(("", ""), table)]))
    result.append(Section("Gradient check", _check(data["check"])))
    return result


def _worked_op(example: dict[str, Any]) -> list[Any]:
    rows = [[f"in    {x['name']}", value_text(x["value"])] for x in example["inputs"]]
    rows += [[f"      {name}", value_text(v)] for name, v in example["options"].items()]
    several = len(example["output"]) > 1
    for i, y in enumerate(example["output"]):
        rows.append([f"out   {f'output {i}' if several else 'y'}", value_text(y)])
    if example["saved"]:
        rows += [[f"saved {x['name']}", value_text(x["value"])] for x in example["saved"]]
    else:
        rows.append(["saved", "nothing"])
    for i, g in enumerate(example["upstream"]):
        rows.append([f"back  g = ∂L/∂{f'output {i}' if several else 'y'}", value_text(g)])
    rows += [[f"back  ∂L/∂{x['name']}", value_text(x["value"])] for x in example["gradients"]]
    parts: list[Any] = [Grid(("", ""), rows)]
    for title, lines in (("forward", "forward_lines"), ("backward", "backward_lines")):
        shown = _lines(example[lines])
        if shown:
            parts.append(Lines(f"{title}, line by line", shown))
    return parts


def _twin(data: dict[str, Any]) -> list[Any]:
    twin = data["twin"]
    chain = " → ".join(f"{name} {shape_text(shape)}" for name, shape, _ in twin["ops"])
    n = len(twin["ops"])
    parts: list[Any] = [
        Code(f"composed of {n} primitive op{'s' * (n > 1)}", twin["source"]),
        Prose(f"what ran: {chain}"),
        Grid(
            ("gradient by the chain rule alone", ""),
            [[f"∂L/∂{g['name']}", value_text(g["value"])] for g in twin["gradients"]],
        ),
        Prose(f"largest difference from the op's gradients: {number_text(twin['difference'], 3)}"),
    ]
    if data["memory"]:
        ours, theirs = data["memory"]["new_bytes"], twin["new_bytes"]
        times = f", {theirs / ours:.1f} times as much" if ours and theirs > ours else ""
        parts.append(
            Prose(
                f"kept at GPT-2's shapes: {bytes_text(ours)} by the op, {bytes_text(theirs)} by "
                f"the twin{times}"
            )
        )
    return parts


# ---------------------------------------------------------------------------------- a collective
def _of_collective(data: dict[str, Any]) -> list[Section]:
    example, ranks = data["example"], range(len(data["example"]["inputs"]))
    rows = []
    for word, name in (
        (f"in    {example['x']}", "inputs"), ("out   y", "output"), ("back  g = ∂L/∂y", "upstream"),
        ("back  ∂L/∂x", "gradients"),
    ):  # fmt: skip
        rows += [[f"{word} on rank {r}", value_text(example[name][r])] for r in ranks]
        if name == "inputs":
            rows += [[f"      {option}", str(v)] for option, v in example["options"].items()]
    sent = [[way, rank, collective, to, f"{n:,}"] for way, rank, collective, to, n in data["sent"]]
    gradients = [[f"∂L/∂x on rank {r}", value_text(data["twin"]["gradients"][r])] for r in ranks]
    difference = number_text(data["twin"]["difference"], 3)
    mistakes = [[m["name"], m["sentence"]] for m in data["mistakes"]]
    return [
        Section("Which loss", [Prose(data["loss"])]),
        Section("In plain words, and exactly", [Voices(data["voices"])]),
        Section("What it does, and its backward pass", [Doc(data["doc"])]),
        Section(
            "The code",
            [Sides(Code("forward", data["forward"]), Code("backward", data["backward"]))],
        ),
        Section(f"A worked example of {len(ranks)} ranks", [Grid(("", ""), rows)]),
        Section(
            "What the ranks send, besides a line of 128 bytes that they compare first",
            [Grid(("", "rank", "collective", "to rank", "bytes"), sent, right=(4,))]
            if sent
            else [Prose("nothing")],
        ),
        Section(
            "The same without the formula: the slow twin, with all ranks' tensors in one process",
            [
                Code("the ranks' tensors as a list", data["twin"]["source"]),
                Grid(("gradient by the chain rule alone", ""), gradients),
                Prose(f"largest difference from the op's gradients: {difference}"),
            ],
        ),
        Section("Mistakes that people make here", [Grid(("", ""), mistakes)]),
        Section(
            "Gradient check, across the ranks", _check(data["check"], "the ∂L/∂y of the example")
        ),
    ]


# -------------------------------------------------------------------------------- shared sections
def _memory(memory: dict[str, Any] | None, note: str = "") -> list[Any]:
    if memory is None:
        return []
    sizes = ", ".join(f"{k} = {v:,}" for k, v in memory["sizes"].items() if _used(k, memory))
    head = memory["inputs"] + (f"    ({note})" if note else "")
    parts: list[Any] = [Prose(f"at GPT-2's shapes, {sizes}:\n{head}" if sizes else head)]
    if not memory["arrays"]:
        return [*parts, Prose("nothing")]
    by_op = "op" in memory["arrays"][0]
    rows = [
        ([a["op"]] if by_op else [])
        + [a["name"], a["shape"], a["dtype"], bytes_text(a["bytes"]), _owner(a["is_input"])]
        for a in memory["arrays"]
    ]
    head_row = ("op",) * by_op + ("keeps", "shape", "dtype", "bytes", "")
    parts.append(Grid(head_row, rows, right=(4 if by_op else 3,)))
    total = f"together {bytes_text(memory['bytes'])}"
    if memory["new_bytes"] != memory["bytes"]:
        total += f", of which {bytes_text(memory['new_bytes'])} are not the memory of its inputs"
    return [*parts, Prose(total)]


def _owner(name: str) -> str:
    return (
        ""
        if not name
        else f"{name} itself"
        if name.startswith(("input", "para"))
        else f"the input {name}"
    )


def _used(letter: str, memory: dict[str, Any]) -> bool:
    text = memory["inputs"] + "".join(a["shape"] for a in memory["arrays"])
    text += "".join(p["shape"] for p in memory.get("parameters", []))
    return letter in text


def _check(rows: list[dict[str, Any]], upstream: str = "a random ∂L/∂y") -> list[Any]:
    if not rows:
        return []
    table = [
        [
            f"∂L/∂{r['name']}",
            f"{r['elements']}",
            number_text(r["largest"], 3),
            number_text(r["difference"], 2),
            "right" if not r["wrong"] else f"{r['wrong']} wrong",
        ]
        for r in rows
    ]
    head = ("", "elements", "largest", "largest error", "")
    return [
        Prose(f"backward against finite differences, in float64, with {upstream}:"),
        Grid(head, table, right=(1, 2, 3)),
    ]


def _lines(lines: Sequence[Any], most: int = 60) -> list[tuple[str, str]]:
    rows = []
    for line, values in zip(lines[:most], shown_values(lines[:most]), strict=True):
        texts = [("" if name == "return" else f"{name} = ") + text for name, text in values]
        rows.append((line.text, "\n".join(map(_indented, texts))))
    if len(lines) > most:
        rows.append((f"and {len(lines) - most} more lines", ""))
    return rows


def _indented(text: str) -> str:
    """The text with its later lines indented to stand below the first bracket of an array."""
    name, equals, _ = text.partition(" = ")
    at = len(name) + 3 if equals and "\n" not in name else 0
    return text.replace("\n", "\n" + " " * at)


# ------------------------------------------------------------------------------- layers, optimizers
def _of_layer(data: dict[str, Any]) -> list[Section]:
    result = [
        Section("What it does", [Doc(data["doc"])]),
        Section("The code", [Code(data["constructor"], data["forward"])]),
    ]
    example, memory = data["example"], data["memory"]
    if example is None:
        return result
    rows = [["made as", example["made"]], ["called as", example["call"]]]
    for word, values in (
        ("in    ", example["inputs"]),
        ("      ", example["parameters"]),
        ("out   ", [{"name": "", "value": y} for y in example["output"]]),
        ("back  ∂L/∂output", [{"name": "", "value": g} for g in example["upstream"]]),
        ("back  ∂L/∂", example["gradients"]),
    ):
        rows += [[word + x["name"], value_text(x["value"], LAYER_LIMIT)] for x in values]
    ops = [
        [str(i), op["name"], " ".join(map(shape_text, op["outputs"]))]
        for i, op in enumerate(example["ops"], 1)
    ]
    result += [
        Section("A worked example", [Grid(("", ""), rows)]),
        Section("The ops that it runs; backward visits them from the last to the first",
                [Grid(("", "op", "output"), ops, right=(0,))] if ops else []),
        Section("Its steps in plain words, and exactly",
                [Voices(data["voices"])] if data["voices"] else []),
    ]  # fmt: skip
    if memory["parameters"]:
        table = [[p["name"], p["shape"], f"{p['elements']:,}"] for p in memory["parameters"][:40]]
        more = len(memory["parameters"]) - 40
        if more > 0:
            table.append([f"and {more} more", "", ""])
        result.append(
            Section(
                "Parameters at GPT-2's shapes",
                [
                    Grid(("parameter", "shape", "numbers"), table, right=(2,)),
                    Prose(f"together {memory['elements']:,}"),
                ],
            )
        )
    result.append(Section("What it keeps for backward", _memory(_shortened(memory))))
    result.append(Section("Gradient check", _check(data["check"])))
    sizes = [[p["name"], p["shape"], f"{p['parameters']:,}"] for p in data["published"]]
    if sizes:
        head = ("preset", "shape", "parameters")
        result.append(Section("Sizes, as presets", [Grid(head, sizes, right=(2,))]))
    return result + _taught(data)


def _taught(data: dict[str, Any]) -> list[Section]:
    """Of a layer of models: its slow twin, mistakes, and where to build it yourself."""
    twin, result = data["twin"], []
    if twin:
        difference = number_text(twin["difference"], 3)
        parts = [
            Code("every part by its definition; the layer is compared with it", twin["source"]),
            Prose(f"largest difference between the two on their samples, in float64: {difference}"),
        ]
        result.append(Section("The same by the definition: the slow twin", parts))
    table = [[m["name"], m["sentence"]] for m in data["mistakes"]]
    if table:
        result.append(Section("Mistakes that people make here", [Grid(("", ""), table)]))
    if data["exercises"]:
        lines = [f"tinygrad-llm exercise start {name}" for name in data["exercises"]]
        result.append(Section("Build it yourself", [Prose("\n".join(lines))]))
    if data["example"]["ops"]:
        line = f"tinygrad-llm draw {data['name']}"
        result.append(Section("Draw its graph and step through the backward pass", [Prose(line)]))
    return result


def _shortened(memory: dict[str, Any], most: int = 40) -> dict[str, Any]:
    arrays = [a for a in memory["arrays"] if not a["is_input"].startswith("parameter")]
    kept = arrays[:most]
    if len(arrays) > most:
        omitted = sum(a["bytes"] for a in arrays[most:])
        kept.append({"op": f"and {len(arrays) - most} more", "name": "", "shape": "", "dtype": "",
                     "bytes": omitted, "is_input": ""})  # fmt: skip
    total = sum(a["bytes"] for a in arrays)
    return {**memory, "arrays": kept, "bytes": total}


def _of_optimizer(data: dict[str, Any]) -> list[Section]:
    example = data["example"]
    made = ", ".join(f"{k}={v}" for k, v in example["made_with"].items())
    steps: list[Any] = [
        Prose(
            f"{data['name']}([p], {made}) on three numbers, p = {value_text(example['parameters'])}"
        )
    ]
    for i, step in enumerate(example["steps"], 1):
        steps.append(Lines(f"step {i}, g = {value_text(step['gradient'])}", _lines(step["lines"])))
        state = [[name, value_text(v)] for name, v in step["state"].items()]
        steps.append(Grid(("afterwards", ""), [["p", value_text(step["parameters"])], *state]))
    voices = (
        [Voices([("one step", data["plain"], data["doc"].partition("\n\n")[0])])]
        if data["plain"]
        else []
    )
    return [
        Section("In plain words, and exactly", voices),
        Section("What it does", [Doc(data["doc"])]),
        Section("The code", [Code(data["constructor"], data["update"])]),
        Section("Its update, line by line", steps),
        Section("What it keeps from step to step, for GPT-2's parameters", _memory(data["memory"])),
        Section("Step through its path downhill", [Prose(f"tinygrad-llm draw {data['name']}")]),
    ]


def _of_schedule(data: dict[str, Any]) -> list[Section]:
    example = data["example"]
    line = f"{example['made']}, of {example['optimizer']}, which moves two numbers downhill"
    steps = [*range(12), *range(15, len(example["rates"]), 5)]
    rows = [
        [f"{i + 1}", number_text(example["rates"][i], 5), number_text(example["losses"][i + 1], 4)]
        for i in steps
    ]
    parts: list[Any] = [Prose(line)]
    parts += [Code("the function", text) for text in data["functions"]]
    parts.append(Grid(("step", "learning rate", "loss afterwards"), rows, right=(0, 1, 2)))
    draw = f"tinygrad-llm draw {data['name']}"
    return [
        Section("In plain words, and exactly",
                [Voices([("the rate", data["plain"], data["doc"].partition("\n\n")[0])])]),
        Section("What it does", [Doc(data["doc"])]),
        Section("The code", [Code(data["constructor"], data["rates_of"])]),
        Section("Its rates in an example", parts),
        Section("Step through the example", [Prose(draw)]),
    ]  # fmt: skip
