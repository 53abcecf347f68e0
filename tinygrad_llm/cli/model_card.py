"""The page beside an exported model: where it comes from, its data, losses, command, licence.

The page is Markdown with the head that model hubs read. It says only what the run's files say;
what they do not say is named as not known.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_write
from ..files.plain_text import one_line
from ..training import read_metrics
from ..training.checkpoint import Checkpoint
from ..training.options import OptionError, Options
from ..training.runs import folder_of

__all__ = ["write_card"]

_NOT_KNOWN = "not known"
_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "Gemma Terms of Use": "gemma"}  # on hubs
_NUMBERS = {
    "tokens": "tokens seen", "loss": "training loss", "val_loss": "validation loss",
    "bits_per_byte": "bits per byte of the validation text",
}  # fmt: skip
_USE = {
    "hf": """```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
```""",
    "gguf": """```shell
llama-cli -m {name} -p "..."
```""",
    "onnx": """```python
import onnxruntime
session = onnxruntime.InferenceSession("{name}")
(logits,) = session.run(["logits"], {{"input_ids": ids}})  # ids: int64, (batch, time)
```""",
}


def write_card(
    path: Path, format: str, model: Any, saved: Checkpoint | None, source: str,
    licence: str | None = None,
) -> Path:  # fmt: skip
    """Write the card of an exported model to `path`; returns it.

    format: "hf", "gguf" or "onnx"; model: a LanguageModel, or None for a
        file that was only rewritten
    saved: the checkpoint that it was, or None for published weights
    source: what was exported, as it was given; licence: that of the weights, if the user says so
    """
    config = {} if saved is None else saved.config
    base = _base_of(config) if saved is not None else source
    licence = licence or _licence_of(base)
    head = {"library_name": "transformers" if format == "hf" else format,
            "pipeline_tag": "text-generation"}  # fmt: skip
    if licence:
        head["license"] = _LICENCES.get(licence, "other")
        if head["license"] == "other":
            head["license_name"] = _quoted(licence)
    if base and _is_name(base):
        head["base_model"] = _quoted(base)
    name = path.parent.name if format == "hf" else path.name.removesuffix(".md")
    lines = ["---", *(f"{key}: {value}" for key, value in head.items()), "---", "", f"# {name}", ""]
    if model is not None:
        lines += [
            f"A {type(model).__name__} with {model.n_parameters():,} parameters: "
            f"{model.config.summary()}. It sees {model.context_length:,} tokens.", "",
        ]  # fmt: skip
    lines += ["## Use", "", _USE[format].format(name=name), ""]
    if saved is not None:
        lines += _training(saved, config, base)
    else:
        lines += ["## Training", "", f"Not trained here: the weights are those of {_code(source)}; "
                  "their authors say how they were trained.", ""]  # fmt: skip
    own = licence or f"{_NOT_KNOWN}: you must state one before others get the weights"
    lines += ["## Licence", "", f"Of the weights: {own}.", ""]
    with atomic_write(path) as file:
        file.write("\n".join(lines).encode("utf-8"))
    return path


def _training(saved: Checkpoint, config: Mapping[str, Any], base: str | None) -> list[str]:
    """Command, data and losses of a run."""
    rows = {"base": _code(base) if base else "none: from random weights", "step": f"{saved.step:,}"}
    options = config.get("options")
    options = options if isinstance(options, dict) else {}
    facts = config.get("data") or config.get("text")
    facts = facts if isinstance(facts, dict) else {}
    named = facts.get("name") or options.get("corpus") or options.get("data")
    rows["data"] = _code(named) if named else _NOT_KNOWN
    sources = _sources(facts)
    licences = ", ".join(dict.fromkeys(source["licence"] or _NOT_KNOWN for source in sources))
    rows["licence of the data"] = licences or _licence_of_data(named) or _NOT_KNOWN
    for key in ("characters", "rows", "sha256"):
        if key in facts:
            rows[f"{key} of the data"] = _code(facts[key])
    rows |= _losses(saved)
    rows["seed"] = str(options.get("seed", _NOT_KNOWN))
    table = [f"| {key} | {value} |" for key, value in rows.items()]
    head = ["## Training", "", "```shell", _command(config, options), "```", ""]
    lines = [*head, "| | |", "|---|---|", *table, ""]
    if sources:
        lines += ["| texts | licence | what they are |", "|---|---|---|"]
        for source in sources:
            licence, about = source["licence"] or _NOT_KNOWN, source["description"]
            lines.append(f"| {_cell(source['name'])} | {_cell(licence)} | {_cell(about)} |")
        lines.append("")
    return lines


def _sources(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Texts of shards, as their manifest names them."""
    rows = facts.get("sources")
    rows = rows if isinstance(rows, list) else []
    keys = ("name", "licence", "description")
    return [{k: str(row.get(k, "")) for k in keys} for row in rows if isinstance(row, dict)]


def _cell(text: str) -> str:
    return one_line(text).replace("|", "/")


def _losses(saved: Checkpoint) -> dict[str, str]:
    """The newest losses up to the checkpoint, of the lines that the run wrote."""
    path = folder_of(saved) / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    newest: dict[str, str] = {}
    for line in lines:
        if line["step"] <= saved.step:
            for key, words in _NUMBERS.items():
                if isinstance(line.get(key), int | float):
                    number = line[key]
                    newest[words] = f"{number:,}" if key == "tokens" else f"{number:.4f}"
    return newest or {"losses": _NOT_KNOWN}


def _command(config: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The command line that starts such a run: all options that are not the defaults."""
    from ..finetune.commands import COMMANDS
    from ..training.presets import PretrainOptions

    name = config.get("finetune")
    kind: type[Options] = COMMANDS.get(str(name), PretrainOptions)
    words, flags = ["finetune", str(name)] if name in COMMANDS else ["pretrain"], []
    for option in kind.shown():
        value = options.get(option.name, option.default)
        if value is None or value == option.default:
            continue
        if option.about.argument:
            words.append(str(value))
        elif isinstance(value, bool):
            flags.append(option.flag if value else option.flag.replace("--", "--no-", 1))
        else:
            flags += [option.flag, str(value)]
    return shlex.join(["tinygrad-llm", *words, *flags])  # on any machine, not as it is called here


def _base_of(config: Mapping[str, Any]) -> str | None:
    options = config.get("options")
    base = options.get("base") if isinstance(options, dict) else None
    return str(base) if base else None


def _is_name(base: str) -> bool:
    from .errors import published_names

    return base in published_names()


def _licence_of(base: str | None) -> str | None:
    """The licence of published weights, by their name."""
    from ..models.pretrained import PRETRAINED
    from ..weights.packaged import PACKAGED

    known: Any = PACKAGED.get(base or "") or PRETRAINED.get(base or "")
    return known.licence if known is not None and hasattr(known, "licence") else None


def _licence_of_data(name: Any) -> str | None:
    from ..data import corpora

    remote = corpora.NAMED.get(str(name))
    if remote is not None:
        return remote.licence
    if name != corpora.DEFAULT:
        return None
    try:
        return corpora.load(corpora.DEFAULT).licence
    except (OptionError, OSError, ValueError):
        return None


def _code(value: Any) -> str:
    return f"`{str(value).replace('`', '').replace('|', '/')}`"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
