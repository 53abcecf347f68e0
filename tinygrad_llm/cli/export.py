"""tinygrad-llm export and quantize: a model for other programs and browsers, in fewer bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..files.paths import local_path
from ..files.plain_text import say
from ..training.checkpoint import Checkpoint
from .errors import BadValue, blame, newest_checkpoint, published_names
from .model_card import write_card

if TYPE_CHECKING:
    from ..models import LanguageModel
    from ..text import Tokenizer

__all__ = ["register"]

_EXPORT = """Write a model for other programs.

FORMAT is hf, a folder that transformers reads; gguf, a file that llama.cpp reads; onnx, a file for
ONNX runtimes (pip install "tinygrad_llm[onnx]"); or html, a page that runs a small model in any
browser, without a server: it writes and shows its attention; a run of finetune classify shows the
tokens that mattered, sentence embeddings (BERT) compare texts. MODEL is a run's folder, one of its
checkpoints, a folder of transformers, a GGUF file, or the name of published weights (tinygrad-llm
models list). LoRA layers are merged into the weights. A model card (README.md in the folder; beside
a file, its name with .md; a page has none) says which data, losses, command and licence the model
has, as far as the run's files say it.

\b
Examples:
  tinygrad-llm export hf runs/first my-model
  tinygrad-llm export gguf runs/first my-model.gguf --kind Q8_0
  tinygrad-llm export onnx runs/first my-model.onnx
  tinygrad-llm export html runs/first my-model.html
  tinygrad-llm export html runs/classify-sms-spam-1 spam.html
  tinygrad-llm export html all-minilm-l6-v2 sentences.html
"""
_QUANTIZE = """Write a GGUF file with weights of fewer bits, and show what is lost.

MODEL is as for export. A GGUF file keeps its metadata and its tokenizer.

\b
Example:
  tinygrad-llm quantize smollm2-135m-instruct small.gguf --kind Q4_0
"""
_KIND = "F32, F16, BF16, Q8_0, Q4_0 or Q4_1."


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command(name="export", help=_EXPORT)(export)
    app.command(name="quantize", help=_QUANTIZE)(quantize)


def export(
    format: str = typer.Argument(..., help="hf, gguf, onnx or html."),
    model: str = typer.Argument(..., help="A run, a folder, a file or a name."),
    out: str = typer.Argument(..., help="The folder or file to write."),
    kind: str = typer.Option("F16", help=f"Of matrices in gguf: {_KIND} In html F16 or F32."),
    licence: str | None = typer.Option(None, help="Of the weights, for the card [the base's]."),
) -> None:
    """Raises: BadValue if FORMAT, MODEL or --kind cannot be used."""
    if format not in ("hf", "gguf", "onnx", "html"):
        raise BadValue(f"FORMAT must be hf, gguf, onnx or html, got {format}")
    if licence is not None and not (licence.isprintable() and 0 < len(licence) <= 100):
        raise BadValue("--licence must be a name of at most 100 characters")
    if format in ("gguf", "onnx"):
        if format == "gguf":
            loaded, saved = _to_gguf(model, local_path(out), kind)
        else:
            loaded, saved = _to_onnx(model, local_path(out))
        card = Path(f"{local_path(out)}.md")
        say(f"{write_card(card, format, loaded, saved, model, licence)}: the model card")
        return
    if format == "html":
        _to_html(model, local_path(out), kind)
        return
    from ..models.pretrained import save_pretrained

    loaded, tokenizer, saved = _load(model)
    with blame("MODEL", TypeError, ValueError):
        folder = save_pretrained(loaded, out)
    written = tokenizer is not None and _write_tokenizer(tokenizer, folder)
    write_card(folder / "README.md", format, loaded, saved, model, licence)
    say(f"{folder}: a {type(loaded).__name__} for transformers{_without(written)}")


def _to_onnx(model: str, out: Path) -> tuple[LanguageModel, Checkpoint | None]:
    """Writes the file; returns the model and its checkpoint."""
    from ..models.onnx_file import save_onnx

    loaded, _, saved = _load(model)
    with blame("MODEL", ValueError):
        save_onnx(loaded, out)
    say(f"{out}: {out.stat().st_size / 1e6:,.1f} MB for ONNX runtimes")
    return loaded, saved


def _to_html(model: str, out: Path, kind: str) -> None:
    """Writes the page, completely or not at all."""
    from ..files.atomic import atomic_write
    from ..finetune.embedding import SentenceEmbedder
    from ..models.encoder import Encoder
    from ..models.exporting import plain
    from ..models.sentence import SentenceEncoder
    from ..serve.pages import classifier_page, embedder_page, model_page

    title, task = Path(model).name, _task_model(model)
    known = {} if task is None else task.settings
    with blame("MODEL", ValueError):
        if task is None:
            loaded, tokenizer, _ = _load(model)
            if tokenizer is None:
                raise BadValue(f"{model} has no tokenizer: a page needs one to read texts")
            if isinstance(loaded, Encoder):
                embedder = SentenceEmbedder(SentenceEncoder(loaded).eval(), tokenizer)
                page = embedder_page(embedder, title, kind)
            else:
                page = model_page(loaded, tokenizer, title, kind)
        elif known.get("finetune") == "embed":
            embedder = SentenceEmbedder(task.model.eval(), task.tokenizer, known.get("max_length"))
            page = embedder_page(embedder, title, kind)
        else:
            page = classifier_page(
                plain(task.model.eval()), task.tokenizer, title, kind,
                classes=known.get("classes"), max_length=known.get("max_length"),
                windows=known.get("long_texts") == "windows",
            )  # fmt: skip
    with atomic_write(out) as file:
        file.write(page.encode("utf-8"))
    say(f"{out}: {out.stat().st_size / 1e6:,.1f} MB for any browser")


def _task_model(model: str) -> Any:
    """The TaskModel of a run of finetune classify or embed, None for anything else."""
    from ..finetune.task_models import TaskModel

    path = local_path(model)
    if not _is_run(path):
        return None
    saved = newest_checkpoint(path, or_published=True)
    known = saved.config.get("finetune") in ("classify", "embed")
    return TaskModel.load(saved) if known else None


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> bool:
    """Write tokenizer.json and tokenizer_config.json; False if transformers has no such kind."""
    from ..files.json_files import write_json
    from ..text import PipelineTokenizer
    from ..text.gguf_entries import huggingface_files

    if isinstance(tokenizer, PipelineTokenizer):
        tokenizer.save(folder)
        return True
    files = huggingface_files(tokenizer)
    for name, data in files.items():
        write_json(folder / name, data)
    return bool(files)


def quantize(
    model: str = typer.Argument(..., help="A run, a folder, a file or a name."),
    out: str = typer.Argument(..., help="The file to write."),
    kind: str = typer.Option("Q8_0", help=f"Of the matrices: {_KIND}"),
) -> None:
    """Raises: BadValue if MODEL, OUT or --kind cannot be used."""
    loaded, _ = _to_gguf(model, local_path(out), kind)
    from ..models.exporting import compare
    from ..weights.formats.gguf import GGUFFile

    path = _gguf_of(model)
    error, before, after = compare(loaded if path is None else GGUFFile(path), GGUFFile(out))
    say(f"{before / 1e6:,.1f} MB became {after / 1e6:,.1f} MB; the weights changed by "
        f"{error:.2%} of their size (root mean square)")  # fmt: skip


def _to_gguf(model: str, out: Path, kind: str) -> tuple[Any, Checkpoint | None]:
    """Writes the file; returns the model and its checkpoint, None for what was only rewritten."""
    from ..models.exporting import rewrite, save_gguf
    from ..text.gguf_entries import gguf_entries

    source = _gguf_of(model)
    if source is not None:
        if out.exists() and out.samefile(source):
            raise BadValue(f"OUT is the file that is read: {out}")
        with blame("--kind", ValueError):
            rewrite(source, out, kind)
        say(f"{out}: {out.stat().st_size / 1e6:,.1f} MB for llama.cpp")
        return None, None
    loaded, tokenizer, saved = _load(model)
    entries = {} if tokenizer is None else gguf_entries(tokenizer)
    with blame("--kind", ValueError):
        save_gguf(loaded, out, kind, entries)
    size = out.stat().st_size / 1e6
    say(f"{out}: {size:,.1f} MB for llama.cpp{_without(bool(entries))}")
    return loaded, saved


def _without(has_tokenizer: bool) -> str:
    return "" if has_tokenizer else ", without a tokenizer: it has ids, no texts"


def _gguf_of(model: str) -> Path | None:
    """The GGUF file that MODEL is, or None."""
    from ..weights.formats.gguf import is_gguf
    from ..weights.packaged import PACKAGED, find

    if Path(model).is_file():
        return Path(model) if is_gguf(model) else None
    with blame("MODEL", ValueError):
        return find(model) if model in PACKAGED and not Path(model).exists() else None


def _load(model: str) -> tuple[LanguageModel, Tokenizer | None, Checkpoint | None]:
    """A model, its tokenizer if it has one, and the checkpoint of a run that it is.

    Raises: BadValue if there is no such model, or it is a classifier.
    """
    from .. import text
    from ..models import LanguageModel
    from ..models.exporting import plain
    from ..models.pretrained import PRETRAINED, from_pretrained

    path = Path(model)
    of_hub = path.is_dir() and (path / "config.json").is_file() and not _is_run(path)
    if model in published_names() or path.is_file() or of_hub:
        with blame("MODEL", ValueError, FileNotFoundError):
            loaded: Any = from_pretrained(model)
        if model in PRETRAINED and not path.exists():
            return loaded, text.GPT2Tokenizer(), None
        try:
            return loaded, text.from_pretrained(model), None
        except (ValueError, FileNotFoundError):
            return loaded, None, None
    saved = newest_checkpoint(path, or_published=True)
    loaded = saved.build_model()
    if not isinstance(loaded, LanguageModel):
        raise BadValue(f"{saved.path} is a classifier: only language models can be exported")
    with blame("MODEL", ValueError):
        try:
            tokenizer: Any = text.load_tokenizer(saved.path / "tokenizer.json")
        except FileNotFoundError:
            tokenizer = None
    return plain(loaded.eval()), tokenizer, saved


def _is_run(path: Path) -> bool:
    return (path / "checkpoints").is_dir() or (path / "manifest.json").is_file()
