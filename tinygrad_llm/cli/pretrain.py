"""tinygrad-llm pretrain: a language model from text alone."""

from __future__ import annotations

from typing import Any

import typer

from ..files.program import command_line
from ..training.options import OptionError
from ..training.presets import PretrainOptions, presets_table, resolve
from .errors import newest_checkpoint
from .options import Way, command
from .ranks import take_part

__all__ = ["register"]

_HELP = f"""Train a language model on text, from random weights.

CORPUS is the name of a data set (python-reference, tinyshakespeare, the-verdict), a UTF-8 file, or
a folder of them; --data takes shards that `prepare` made, which may be larger than memory. Without
any option this trains on Python's language reference for about three minutes.

\b
Examples:
  tinygrad-llm pretrain
  tinygrad-llm pretrain my_notes.txt --minutes 10
  tinygrad-llm pretrain tinyshakespeare --tokenizer char --steps 1000
  tinygrad-llm pretrain --preset medium --out runs/first
  tinygrad-llm pretrain --resume runs/first
  tinygrad-llm pretrain --config settings.toml --plan
  tinygrad-llm pretrain --preset medium --find-lr
  tinygrad-llm pretrain --preset large --device cuda --precision bfloat16
  tinygrad-llm pretrain --ranks 2                    two processes share each batch
  tinygrad-llm pretrain --data shards/books=3,shards/code --packing isolated
  tinygrad-llm pretrain --model bert                 guesses hidden words: a masked language model

\b
Presets (--preset):
{presets_table()}

Every option can also be in a JSON or TOML file, --config FILE (emb_dim = 128). The command line
takes precedence over the file, and the file over the preset.
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="pretrain", help=_HELP)(command(PretrainOptions, pretrain))


def pretrain(given: dict[str, Any], settings: dict[str, Any], way: Way) -> None:
    """Starts a run with the given options over those of --config, or continues one.

    Raises: OptionError for options that are not allowed, or a run of another command.
    """
    from ..training.shard_pretraining import kind_of

    if way.resume is None:
        options = resolve(given, settings)
        run = kind_of(options.model, options.data)(options, way.progress)
    else:
        checkpoint = newest_checkpoint(way.resume)
        if "finetune" in checkpoint.config:
            name = checkpoint.config["finetune"]
            raise OptionError(
                f"`resume`: {checkpoint.path} belongs to finetune: "
                f"{command_line('finetune', name, '--resume', way.resume)} continues it"
            )
        written = checkpoint.config.get("options")
        written = written if isinstance(written, dict) else {}
        kind = kind_of(written.get("model"), written.get("data"))
        run = kind.continued(checkpoint, given, settings, way.progress)
    take_part(run, given)
    if way.find_lr:
        run.find_learning_rate()
    elif way.plan:
        run.plan()
    else:
        run.run()
        run.progress.note(f"next              {run.next_command()}")
