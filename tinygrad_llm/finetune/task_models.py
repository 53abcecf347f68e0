"""What answers the calls of the tasks: a fine-tuned model with its tokenizers and its settings.

    translate("私 は テニス 部員 で す 。", "runs/ja-en")      # reads the run at every call
    model = TaskModel.load("runs/ja-en")                      # reads it once
    translate("私 は テニス 部員 で す 。", model)

A model that was made in memory: TaskModel(model, tokenizer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ..files.paths import local_path
from ..models.base import Model
from ..models.pretrained import from_pretrained
from ..nn import Module
from ..text import Tokenizer, load_tokenizer
from ..text import from_pretrained as load_pretrained
from ..text.tokenizer import check_fits
from ..training.checkpoint import Checkpoint, find_checkpoint

__all__ = ["Run", "TaskModel", "text_first"]

Answer = TypeVar("Answer")


@dataclass
class TaskModel:
    """A model, the tokenizer of what it writes or reads, and what its run says of itself.

    source_tokenizer: of what an encoder-decoder reads, None where one tokenizer serves both
    settings: the config of the run, {} without a run; name: for messages
    Raises: ValueError if a tokenizer has ids that the model does not.
    """

    model: Any
    tokenizer: Tokenizer
    source_tokenizer: Tokenizer | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):
            return
        config: Any = self.model.config
        fields = asdict(config)
        fields = fields.get("model", fields)  # of a model that is made of another
        size = fields["vocab_size"]
        if isinstance(self.tokenizer, Tokenizer):
            check_fits(self.tokenizer, size)
        if isinstance(self.source_tokenizer, Tokenizer):
            check_fits(self.source_tokenizer, fields.get("source_vocab_size") or size)

    @classmethod
    def load(cls, run: Run) -> TaskModel:
        """Of a run's folder, a checkpoint, or published weights by name or folder.

        Raises: TypeError for something else; ValueError if the name is not known; StorageError
        if a run is damaged or there is none.
        """
        if isinstance(run, TaskModel):
            return run
        if isinstance(run, Checkpoint):
            return cls._of(run)
        if not isinstance(run, str | Path):
            raise TypeError(
                "run must be the folder of a run, a Checkpoint or a TaskModel(model, tokenizer), "
                f"got {type(run).__name__}"
            )
        path = local_path(run)
        is_run = (path / "checkpoints").is_dir() or (path / "manifest.json").is_file()
        published = not path.exists() or path.is_file() or (path / "config.json").is_file()
        if published and not is_run:
            return cls(from_pretrained(run), load_pretrained(run), name=str(run))
        return cls._of(find_checkpoint(path))

    @classmethod
    def _of(cls, checkpoint: Checkpoint) -> TaskModel:
        path = checkpoint.path / "source_tokenizer.json"
        return cls(
            checkpoint.build_model(), load_tokenizer(checkpoint.path / "tokenizer.json"),
            load_tokenizer(path) if path.is_file() else None, checkpoint.config,
            str(checkpoint.path),
        )  # fmt: skip

    @property
    def tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """Of what an encoder-decoder reads, and of what it writes."""
        return self.source_tokenizer or self.tokenizer, self.tokenizer

    def need(self, task: str, kind: type, run: str | None = None) -> None:
        """Raises: TypeError if the model is of another kind; ValueError if it comes from a run of
        another command than `finetune {run}`. Both name the task.
        """
        if not isinstance(self.model, kind):
            of = f" ({self.name})" if self.name else ""
            article = "an" if kind.__name__[0] in "AEIO" else "a"
            raise TypeError(
                f"{task} needs {article} {kind.__name__}, got {type(self.model).__name__}{of}"
            )
        made_by = self.settings.get("finetune", run)
        if run is not None and made_by != run:
            raise ValueError(
                f"{task} needs a run of finetune {run}, got one of finetune {made_by} ({self.name})"
            )


Run = TaskModel | Checkpoint | str | Path


def text_first(call: Callable[..., Answer]) -> Callable[..., Answer]:
    """A call (text, run, ...) that also takes (model, tokenizer, text, ...), as fill_mask does.

    In the second form the tokenizer of a translation may be a pair, of source and target.
    """

    @wraps(call)
    def either(*args: Any, **options: Any) -> Answer:
        if len(args) >= 3 and isinstance(args[0], Module):
            model, own, text, *others = args
            source, own = own if isinstance(own, tuple) else (None, own)
            return call(text, TaskModel(model, own, source), *others, **options)
        return call(*args, **options)

    return either
