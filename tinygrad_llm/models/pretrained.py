"""Models from files: published weights, and folders in Hugging Face's layout.

    model = from_pretrained("gpt2")                # downloads once, checks, builds
    model = from_pretrained("folder/of/gpt2")      # model.safetensors or pytorch_model.bin
    save_pretrained(model, "my-gpt2")              # a folder that transformers reads too

The family is found in models/registry.py, by the model_type of config.json and by the class of the
model. GPT-2's names and layouts are in weights/families/gpt2.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.downloads import Progress, RemoteFile, cache_folder, fetch
from ..files.paths import local_path
from ..files.untrusted import describe
from ..layers.quantized import quantize as quantize_layers
from ..nn.utils import skip_init
from ..tensor import dtypes
from ..weights import packaged
from ..weights.families import gpt2
from ..weights.families.gguf_names import GGUFSource
from ..weights.families.llama_meta import PARAMS, MetaFolder
from ..weights.families.table import listed
from ..weights.formats.gguf import is_gguf
from ..weights.formats.safetensors import SafeTensorsFile
from ..weights.sources import Source, open_huggingface
from .base import LanguageModel, PretrainedModel
from .gpt import GPT, GPTConfig
from .loading import SHARD_BYTES, default_dtype, load_family, save_family
from .quantizing import AS_STORED, check_quantize
from .registry import Family, families, of

__all__ = [
    "PRETRAINED",
    "build_gpt2",
    "download_notice",
    "from_pretrained",
    "language_model",
    "load_gpt2",
    "save_pretrained",
]


def _config(
    weights: gpt2.GPT2Weights, stored: dict[str, Any], changes: dict[str, Any]
) -> GPTConfig:
    known = GPTConfig.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise TypeError(f"GPTConfig has no {name!r}; it has {', '.join(known)}")
    fields: dict[str, Any] = {**weights.fields(), **stored}
    if "n_heads" not in {**fields, **changes}:
        if fields["emb_dim"] % 64:
            raise ValueError(
                f"{weights.where}: the number of heads is not in the weights, and emb_dim="
                f"{fields['emb_dim']} is not a multiple of 64, the channels of GPT-2's heads: "
                "pass n_heads=..."
            )
        fields["n_heads"] = fields["emb_dim"] // 64
    if fields.get("drop_rate", 0.1) is None and "drop_rate" not in changes:
        raise ValueError(
            f"{weights.where}: its config.json has different dropout rates for embeddings, "
            "attention and residuals, this GPT has one: pass drop_rate=..."
        )
    for name in ("vocab_size", "emb_dim", "n_layers"):
        if changes.get(name, fields[name]) != fields[name]:
            raise ValueError(
                f"{weights.where}: {name} is {fields[name]} in the weights and cannot be "
                f"{changes[name]}"
            )
    if "context_length" in changes and changes["context_length"] > fields["context_length"]:
        raise ValueError(
            f"{weights.where}: there are positions for {fields['context_length']} tokens, "
            f"so context_length cannot be {changes['context_length']}; pass at most "
            f"{fields['context_length']}"
        )
    if changes.get("qkv_bias", True) is not True:
        raise ValueError("GPT-2's queries, keys and values have a bias: qkv_bias must be True")
    gpt2.check_parts(changes)
    tied = not weights.has_own_head()
    if changes.get("tie_weights") and not tied:
        raise ValueError(
            f"{weights.where}: lm_head.weight is not wte.weight, so tie_weights=True would lose it"
        )
    return GPTConfig(**{**fields, "tie_weights": tied, **changes})


def _build(
    weights: gpt2.GPT2Weights, stored: dict[str, Any], changes: dict[str, Any],
    dtype: dtypes.dtype | None = None,
) -> GPT:  # fmt: skip
    """stored: fields of a config.json; changes: the caller's."""
    config = _config(weights, stored, changes)
    context = stored.get("context_length", weights.fields()["context_length"])
    weights.check(config.vocab_size, context, config.emb_dim, config.n_layers)
    with default_dtype(dtype):
        model: GPT = skip_init(GPT, config)
    own = dict(model.named_parameters())
    for name, array in weights.state(config.n_layers):
        if name == "pos_emb.weight":
            array = array[: config.context_length]  # (T in the file, C) -> (T, C)
        if name in own:  # a tied head is not a parameter
            own[name].array[...] = array
    return model.eval()


def build_gpt2(weights: Mapping[str, Any], **config_changes: Any) -> GPT:
    """A GPT with these weights, float32, in evaluation mode.

    weights: name -> array, under Hugging Face's names or OpenAI's (h0/attn/c_attn/w, with or
        without "model/" in front and ":0" at the end). Stored masks (attn.bias, attn.masked_bias)
        are left out; without lm_head.weight, or if it equals wte.weight, the head is tied.
    config_changes: fields of GPTConfig: n_heads (otherwise GPT-2's 64 channels per head),
        drop_rate, tie_weights, and a shorter context_length, which drops the last positions

    Raises: ValueError for missing and unexpected weights and wrong shapes (with both shapes);
    TypeError for a weight that is not floating-point or a field that GPTConfig does not have.
    """
    return _build(gpt2.GPT2Weights(weights), {}, config_changes)


def load_gpt2(path: str | Path, *, dtype: dtypes.dtype | None = None, **config_changes: Any) -> GPT:
    """The GPT in a file of GPT-2's weights, or in a folder as transformers writes it.

    path: a .safetensors file, a .bin file of torch.save (read without running anything in it), or
        a folder with model.safetensors or pytorch_model.bin. A config.json in the same folder is
        used, and compared with the shapes of the weights.
    dtype: of the parameters, float32 if None; config_changes: see build_gpt2

    Raises: FileNotFoundError if there is no such file; SafeTensorsError, TorchFileError or
    ValueError for a file that is cut short, damaged, or not a GPT-2, with both shapes where a shape
    is wrong.
    """
    weights, stored = gpt2.read(path)
    return _build(weights, stored, config_changes, dtype)


def open_source(path: str | Path) -> Source:
    """The weights in a folder or a file of any format that can be read.

    Raises: FileNotFoundError if there is no such file; ValueError if it is damaged.
    """
    if (local_path(path) / PARAMS).is_file() and not (local_path(path) / "config.json").is_file():
        return MetaFolder(path)
    return GGUFSource(path) if is_gguf(path) else open_huggingface(path)


def _family_for(source: Source) -> Family | None:
    """The family that config.json names by model_type, or by architectures if it has no such field.

    None if there is no config.json.
    Raises: ValueError if no family here reads such weights.
    """
    if not source.config:
        return None
    readable: dict[str, Family] = {}  # a family's first class: the others name their architectures
    for family in families():
        for each in family.names.MODEL_TYPES if family.names else ():
            readable.setdefault(each, family)
    kind = source.config.get("model_type")
    written = source.config.get("architectures") or [""]
    first = written[0] if isinstance(written, list) and written else written
    made = {n: f for f in families() if f.names for n in f.names.ARCHITECTURES}
    if isinstance(first, str) and first in made:
        named = made[first]
        if kind is None or (named.names and kind in named.names.MODEL_TYPES):
            return named
        if kind in readable:
            raise ValueError(
                f"{source.where}: model_type is {describe(kind)}, a {readable[kind].name}, but "
                f"architectures names {describe(first)}, a {named.name}: one of them is wrong"
            )
    kind = first if kind is None else kind
    if not isinstance(kind, str) or kind not in readable:
        raise ValueError(
            f"{source.where}: model_type is {describe(kind)}; the models that can be read are "
            f"{', '.join(readable)}"
        )
    return readable[kind]


def _load(path: Path, changes: dict[str, Any], dtype: Any, quantize: str | None) -> Any:
    """The model in a folder or file: config.json says which; without one a GPT-2."""
    source = open_source(path)
    _check_plain(source)
    check_quantize(quantize, source)
    family = _family_for(source)
    if family is not None and family.names is gpt2 and isinstance(source, GGUFSource):
        fields = gpt2.read_config(source.config, source.where)
        model = _build(gpt2.GPT2Weights.of(source), fields, changes, dtype)
        return _quantized(model, quantize)
    if family is None and not any("wte" in name for name in source.names()):
        raise ValueError(
            f"{source.where}: there is no config.json beside the weights, and without one they are "
            f"read as a GPT-2's, but wte.weight is missing, so this is not a GPT-2; there are: "
            f"{listed(sorted(source.names())) or 'no arrays at all'}"
        )
    if family is None or family.load is not None:
        return _quantized(load_gpt2(path, dtype=dtype, **changes), quantize)
    return load_family(family, source, changes, dtype, quantize)


def _check_plain(source: Source) -> None:
    """Raises: ValueError if config.json says that the weights are packed (GPTQ, AWQ and others)."""
    stored = source.config.get("quantization_config")
    if stored is None:
        return
    method = stored.get("quant_method", "unnamed") if isinstance(stored, dict) else stored
    raise ValueError(
        f"{source.where}: quantization_config in its config.json says that the weights are packed "
        f"(quant_method {describe(method)}), which is not read here: take the model's folder in "
        "float32, float16 or bfloat16 (quantize= or --quantize packs it), or a GGUF file"
    )


def _quantized(model: LanguageModel, kind: str | None) -> LanguageModel:
    """A GPT-2, whose matrices a GGUF file holds turned, with its weights in a format."""
    if kind is not None:
        quantize_layers(model, "q8_0" if kind == AS_STORED else kind)
    return model


def save_pretrained(
    model: PretrainedModel, folder: str | Path, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Writes model.safetensors and config.json as transformers reads them; returns their folder.

    A file that was there before stays whole until the new one is written. Weights of more than
    shard_bytes go into several files, model-00001-of-00002.safetensors and so on, with an index.
    Raises: OSError if the disk refuses; TypeError for a model that transformers does not know.
    """
    family = of(model)
    if family is None or family.names is None or not isinstance(model, PretrainedModel):
        raise TypeError(f"save_pretrained: there is no table of names for a {type(model).__name__}")
    folder = local_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_family(family, model, folder, shard_bytes)
    return folder


# ------------------------------------------------------------------------------ downloads
def _published(
    name: str, revision: str, size: str, sha256: str | None, n_bytes: int | None,
    about_bytes: int | None = None,
) -> RemoteFile:  # fmt: skip
    address = f"https://huggingface.co/openai-community/{name}/resolve/{revision}/model.safetensors"
    return RemoteFile(
        file_name=f"{name}.safetensors",
        addresses=(address,),
        sha256=sha256,
        n_bytes=n_bytes,
        licence="MIT",
        description=f"GPT-2's weights, {size} parameters.",
        about_bytes=about_bytes,
    )


PRETRAINED: dict[str, RemoteFile] = {
    "gpt2": _published(
        "gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "124 million",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        548_105_171,
    ),
    "gpt2-medium": _published(
        "gpt2-medium",
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        "355 million",
        None,
        1_519_984_962,
    ),
    "gpt2-large": _published(
        "gpt2-large",
        "32b71b12589c2f8d625668d2335a01cac3249519",
        "774 million",
        None,
        3_247_159_078,
    ),
    "gpt2-xl": _published(
        "gpt2-xl",
        "15ea56dee5df4983c59b2538573817e1667135e2",
        "1,558 million",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
        None,
        4 * (1_557_611_200 + 48 * 1024 * 1024),  # parameters, and a mask in each of 48 layers
    ),
}


def from_pretrained(
    name: str | Path, dtype: dtypes.dtype | None = None, *, quantize: str | None = None,
    progress: Progress | None = None, timeout: float = 30.0, **config_changes: Any,
) -> Any:  # fmt: skip
    """A model by its name, or from a folder or file of weights; in evaluation mode.

    name: "gpt2", "gpt2-medium", "gpt2-large" or "gpt2-xl" as OpenAI trained them; one of
        weights.packaged, such as "smollm2-135m-instruct"; or a path. In a folder as transformers
        writes it config.json says which model it is, in a GGUF file its metadata.
    quantize: the format in which matrices stay in memory, frozen: "int8", "q8_0", "q4_0", "q4_1",
        "nf4", or "gguf" as a GGUF file stores them; None for floats
    dtype: of the parameters, float32 if None; progress, timeout: see downloads.fetch
    config_changes: fields of the model's config, e.g. drop_rate=0.0 or a shorter context_length

    The first call with a name downloads 0.5, 1.5, 3.2 or 6.4 GB from Hugging Face into the cache
    folder (see downloads.cache_folder), later calls read it there. "gpt2" and "gpt2-xl" are checked
    against their SHA-256. For "gpt2-medium" and "gpt2-large" no checksum is known here: their
    addresses name one commit, and the size in bytes, the names and the shapes of all weights are
    checked.
    Raises: ValueError for a name that is not known and not a path, and for a model_type that is not
    known here; DownloadError without a network (it says which file to put where) or if the file in
    the cache is not the right one; for a path as load_gpt2.
    """
    published = {file: family for family in families() for file in family.files}
    if name not in published:
        if local_path(name).exists():
            return _load(local_path(name), config_changes, dtype, quantize)
        if name in packaged.PACKAGED:
            path = packaged.find(name, progress=progress, timeout=timeout)
            return _load(path, config_changes, dtype, quantize)
        known = ", ".join([*published, *packaged.PACKAGED])
        raise ValueError(
            f"no pretrained model is called {str(name)!r}; there are {known}, and there is no file "
            "or folder of this name"
        )
    path = fetch(published[str(name)].files[str(name)], progress=progress, timeout=timeout)
    check_quantize(quantize, path)
    return _quantized(_published_gpt2(str(name), path, config_changes, dtype), quantize)


def download_notice(name: str | Path) -> str | None:
    """What somebody should know before from_pretrained(name) downloads: size, licence, terms.

    None if it downloads nothing: the weights are on this machine, or the name is not known.
    """
    known: dict[str, Any] = {**PRETRAINED, **packaged.PACKAGED}
    model = known.get(str(name))
    if model is None or local_path(name).exists():
        return None
    if isinstance(model, RemoteFile):
        here = (cache_folder() / model.file_name).is_file()
    else:
        here = packaged.locate(model) is not None
    if here:
        return None
    terms = getattr(model, "terms", None)
    return (
        f"{name} is downloaded once: {model.description} {model.size}, licence {model.licence}"
        f"{f', terms of use: {terms}' if terms else ''}"
    )


def language_model(name: str | Path, **options: Any) -> LanguageModel:
    """As `from_pretrained`, for what needs a model that writes text; options: its other arguments.

    Raises: ValueError if the model is of another kind, such as an encoder; as from_pretrained.
    """
    model = from_pretrained(name, **options)
    if not isinstance(model, LanguageModel):
        raise ValueError(
            f"{name} is a {type(model).__name__}, which writes no text: it needs a language model"
        )
    return model


def _published_gpt2(
    name: str, path: Path, changes: dict[str, Any], dtype: dtypes.dtype | None
) -> GPT:
    """GPT-2's file has no config.json: its sizes are those of GPTConfig's class methods."""
    made = {
        "gpt2": GPTConfig.gpt2_small,
        "gpt2-medium": GPTConfig.gpt2_medium,
        "gpt2-large": GPTConfig.gpt2_large,
        "gpt2-xl": GPTConfig.gpt2_xl,
    }[name]()
    fields = {
        "vocab_size": made.vocab_size,
        "context_length": made.context_length,
        "emb_dim": made.emb_dim,
        "n_heads": made.n_heads,
        "n_layers": made.n_layers,
    }
    return _build(gpt2.GPT2Weights(SafeTensorsFile(path), str(path)), fields, changes, dtype)
