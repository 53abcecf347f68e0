"""What files say of a model's sizes: no number of a config.json takes time or memory by itself.

Each registered family's config.json, Meta's params.json and GGUF's metadata, with every field
replaced by absurd values, and damaged at random; configs in checkpoints: a model that computes, or
an error of the package.
"""

from __future__ import annotations

import json
import math
import random
import warnings

import numpy as np
import pytest
import test_weights_gguf_models as gguf_models
from mutations import change_json
from test_families import DECODERS, OWN, SMALL, interleaved_model, meta_folder, meta_state, tiny
from test_fuzz_files import ends_well, renew_manifest

import tinygrad_llm as torch
from tinygrad_llm.layers.rotary import Rotary
from tinygrad_llm.models import (
    GPT,
    GPTConfig,
    LanguageModel,
    from_pretrained,
    registry,
    save_pretrained,
)
from tinygrad_llm.models.encoder_decoder import EncoderDecoder
from tinygrad_llm.models.exporting import save_gguf
from tinygrad_llm.training import StorageError, find_checkpoint, save_checkpoint
from tinygrad_llm.weights.formats import gguf

ERRORS = (ValueError, TypeError, OSError)
ABSURD = [
    10**12, 10**6, 2**31, 2**31 - 1, 10**400, 2**63, -1, 0, 1, 3, 0.5, 1e308, 1e-320, math.inf,
    math.nan, "8", None, True, [], {}, [1] * 100, "gelu", ["full_attention"] * 2,
    {str(i): "a" for i in range(20_000)}, "gated-" * 9,
]  # fmt: skip
FAMILIES = {f.name: f for f in registry.families() if f.names is not None}
ORIGINAL = "original_max_position_embeddings"
SCALINGS = {
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0, ORIGINAL: 32},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, ORIGINAL: 16},
    "yarn": {"factor": 4.0, ORIGINAL: 8, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
             "mscale_all_dim": 1.0, "attention_factor": 1.0, "truncate": True},
    "longrope": {"short_factor": [1.0, 2.0, 3.0], "long_factor": [1.0, 2.0, 3.0], "factor": 2.0,
                 ORIGINAL: 8},
}  # fmt: skip


def made(name):
    """The small model of a case: a family, GPT, or a Llama with scaled positions."""
    if name == "GPT":
        return GPT(GPTConfig(19, 16, 12, 3, 2, 0.0)).eval()
    if name in SCALINGS:
        return tiny("Llama", rope_scaling={"rope_type": name, **SCALINGS[name]})
    if name in DECODERS:
        return tiny(name, **({"head_dim": 4} if name == "Cohere2" else {}))
    family = registry.find(name)
    sizes = {**SMALL, "n_decoder_layers": 1, **OWN.get(name, {})}
    known = family.config.__dataclass_fields__
    config = family.config(**{field: n for field, n in sizes.items() if field in known})
    return family.model.from_config(config).eval()


def use(path):
    """Load the model, and take a step, with its cache if it is a language model."""
    model, ids = from_pretrained(path), torch.tensor([[1]])
    with torch.no_grad():
        if isinstance(model, EncoderDecoder):
            model(ids, ids)
            model.loss(ids, ids)  # it begins with the token that the config names
        elif isinstance(model, LanguageModel):
            model(ids, model.new_cache())
        else:
            model(ids)
    assert len(repr(model.config)) < 3000


def places(value, path=()):
    """(container, key) of everything in it."""
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


def absurd(text, n):
    """The JSON with one field after the other replaced by n of the absurd values."""
    value, rng = json.loads(text), random.Random(n)
    for container, key in list(places(value)):
        whole = container[key]
        for bad in rng.sample(ABSURD, n):
            container[key] = bad
            yield f"{key}={str(bad)[:20]}", json.dumps(value)
        container[key] = whole


@pytest.fixture(params=["few", pytest.param("all", marks=pytest.mark.slow)])
def count(request):
    """How many absurd values each field gets, and how many files are damaged at random."""
    return {"few": (1, 4), "all": (len(ABSURD), 2000)}[request.param]


def attack(path, folder, count, name):
    whole = path.read_text()
    changed = list(absurd(whole, count[0]))
    changed += [(f"seed {n}", change_json(whole, random.Random(n))) for n in range(count[1])]
    for what, text in changed:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numbers that overflow are refused before
            ends_well(lambda: use(folder), ERRORS, f"{name}, {what}")


@pytest.mark.parametrize("name", [*FAMILIES, *SCALINGS])
@pytest.mark.suite_cases(8)
def test_config_json(name, count, tmp_path):
    save_pretrained(made(name), tmp_path)
    use(tmp_path)
    attack(tmp_path / "config.json", tmp_path, count, name)


def test_params_json(count, tmp_path):
    changes = {"use_scaled_rope": True, "rope_theta": 5e5, "rope_scaling_factor": 8,
               "max_seq_len": 64}  # fmt: skip
    folder = meta_folder(tmp_path, [meta_state(interleaved_model())], **changes)
    use(folder)
    attack(folder / "params.json", folder, count, "Meta's")


@pytest.mark.parametrize("case", gguf_models.MODELS)
@pytest.mark.suite_cases(4)
def test_gguf_metadata(case, count, tmp_path):
    whole, path = tmp_path / "whole.gguf", tmp_path / "damaged.gguf"
    save_gguf(gguf_models.made(case), whole)
    file, rng = gguf.GGUFFile(whole), random.Random(0)
    arrays = {name: np.asarray(file[name]) for name in file}
    bads = (10**12, 2**31, 2**31 - 1, 0, -1, 1e30, math.nan, "8", [1] * 100)
    for key in file.metadata:
        for bad in rng.sample(bads, min(len(bads), count[0])):
            if key.startswith("general.") and key != "general.architecture":
                continue
            tensors = gguf.pending(arrays, ["F32"] * len(arrays))
            gguf.write(path, {**file.metadata, key: bad}, tensors)
            ends_well(lambda: use(path), ERRORS, f"{case}, {key}={str(bad)[:20]}")


@pytest.mark.parametrize("name", [*FAMILIES, "Transformer"])
@pytest.mark.suite_cases(9)
def test_config_of_a_checkpoint(name, count, tmp_path):
    """Sizes that the weights do not have are refused before memory or time is spent on them."""
    model = made(name)
    config = {"model": registry.describe(model), "seed": 1}
    path = save_checkpoint(tmp_path / "checkpoints", 5, model, {}, config) / "state.json"
    whole, rng = path.read_text(), random.Random(count[0])
    bads = (2**30, 2**16, 10**6, 0, -1, 10**400, 0.5, "x", None, True, [1] * 9)
    for field in config["model"]["config"]:
        for bad in rng.sample(bads, min(len(bads), count[0])) + [2**30]:
            changed = json.loads(whole)
            changed["config"]["model"]["config"][field] = bad
            path.write_text(json.dumps(changed))
            renew_manifest(path)
            ends_well(
                lambda: find_checkpoint(tmp_path).build_model(), (StorageError,),
                f"{name}, {field}={str(bad)[:20]}",
            )  # fmt: skip


# ------------------------------------------------------------- one case for each kind that failed
def test_more_layers_or_experts_than_weights(tmp_path):
    """A table with a row for each of their weights would not end."""
    for family, field, value, message in (
        ("Llama", "num_hidden_layers", 65_536, "65,536 layers, but there are only"),
        ("Llama", "num_hidden_layers", 10**9, "num_hidden_layers should be from 1 to 65,536"),
        ("Cohere2", "num_hidden_layers", 10**9, "num_hidden_layers should be from 1 to 65,536"),
        ("Qwen2", "num_hidden_layers", 0, "num_hidden_layers should be from 1 to 65,536"),
        ("Bert", "num_hidden_layers", 65_536, "65,536 layers, but there are only"),
        ("T5", "num_layers", 10**9, "num_layers should be from 1 to 65,536"),
        ("T5", "num_decoder_layers", 65_536, "65,538 layers, but there are only"),
        ("T5", "num_decoder_layers", 10**9, "num_decoder_layers should be from 1 to 65,536"),
        (
            "Qwen3Moe",
            "num_local_experts",
            2**30,
            "2 layers of 1,073,741,824 experts, but there are",
        ),
    ):
        folder = tmp_path / f"{family}-{value}"
        save_pretrained(made(family), folder)
        config = json.loads((folder / "config.json").read_text())
        assert field in config
        (folder / "config.json").write_text(json.dumps({**config, field: value}))
        with pytest.raises(ValueError, match=message):
            from_pretrained(folder)


@pytest.mark.parametrize("family", ["ModernBert", "ModernBertForMaskedLM"])
def test_layers_without_their_kinds(family, tmp_path):
    """The kinds of a thousand million layers were listed before the number was looked at."""
    save_pretrained(made(family), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["layer_types"]
    path.write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    with pytest.raises(ValueError, match="num_hidden_layers should be from 1 to 65,536, got 10"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("bad", ["x" * 10**6, [1] * 10**5, {"a": 1}, ["x" * 10**5], 10**400])
def test_messages_do_not_print_what_a_file_says(bad, tmp_path):
    for family, field in (("Bert", "hidden_act"), ("DistilBert", "activation"),
                          ("ModernBert", "classifier_activation")):  # fmt: skip
        save_pretrained(made(family), tmp_path / family)
        path = tmp_path / family / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), field: bad}))
        with pytest.raises(ValueError, match="activation must be") as error:
            from_pretrained(tmp_path / family)
        assert len(str(error.value)) < 500
    with pytest.raises((ValueError, TypeError), match="activation must be") as error:
        FAMILIES["Bert"].config(activation=bad)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("field", ["decoder_start_token_id", "pad_token_id"])
def test_tokens_outside_the_vocabulary(field, tmp_path):
    """The first loss would look up a row that the embedding does not have."""
    save_pretrained(made("T5"), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: 19}))
    with pytest.raises(ValueError, match="must be a token of the vocabulary, 0 … 18, got 19"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("family", DECODERS)
def test_a_context_is_a_number_and_no_memory(family, tmp_path):
    """The longest context that a config takes: a cache grows with its tokens."""
    save_pretrained(made(family), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for value, accepted in ((2**31, True), (10**12, False), (0, False)):
        changed = {**config, "max_position_embeddings": value}
        (tmp_path / "config.json").write_text(json.dumps(changed))
        if accepted:
            ends_well(lambda: use(tmp_path), (), f"{family} {value}")
            continue
        with pytest.raises(ValueError, match="context_length must be at (most|least)"):
            from_pretrained(tmp_path)


@pytest.mark.parametrize("family", DECODERS)
def test_heads_are_bounded(family):
    """Their angles are computed when a config is made."""
    config = DECODERS[family].config
    with pytest.raises(ValueError, match="head_dim must be at most 65,536|fit no memory"):
        config(vocab_size=9, emb_dim=1, hidden_dim=1, n_layers=1, n_heads=1, n_kv_heads=1,
               head_dim=1 << 31)  # fmt: skip


@pytest.mark.parametrize("base", [10**400, 1e31, 1e-31, 0, -1.0, math.inf, math.nan])
def test_bases_that_float32_cannot_hold(base):
    with pytest.raises(ValueError, match="base must be a positive number, from 1e-30 to 1e"):
        Rotary(8, base)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("llama3", {"low_freq_factor": 4.0}, "high_freq_factor above low_freq_factor, got 4.0 and"),
        ("llama3", {"factor": 1e31}, "factor must be a positive number"),
        ("linear", {"factor": 10**400}, "factor must be a positive number, .*int of 1329 bits"),
        ("linear", {"factor": "x" * 10**6}, "factor must be a positive number, .*got 'xxx"),
        ("longrope", {ORIGINAL: 1}, "original_max_position_embeddings above 1, got 1"),
        ("longrope", {"long_factor": [1] * 10**6}, "must be 3 numbers, .*got a list of 1,000,000"),
        ("yarn", {"beta_fast": math.nan}, "beta_fast must be a positive number"),
        ("yarn", {"attention_factor": math.inf}, "attention_factor must be a positive number"),
        ("x" * 10**6, {}, "rope_type must be .*got 'xxx"),
    ],
)  # fmt: skip
def test_scalings_that_cannot_be_computed(kind, change, message):
    with pytest.raises(ValueError, match=message) as error:
        Rotary(6, scaling={"rope_type": kind, **SCALINGS.get(kind, {}), **change})
    assert len(str(error.value)) < 400


def test_yarn_needs_a_base_above_one():
    with pytest.raises(ValueError, match="'yarn' needs a base above 1, got 1.0"):
        Rotary(6, 1.0, scaling={"rope_type": "yarn", **SCALINGS["yarn"]})


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("GPT", "embd_pdrop"), ("GPT", "attn_pdrop"), ("GPT", "resid_pdrop"),
        ("Llama", "rms_norm_eps"), ("Llama", "rope_theta"), ("Qwen2", "rms_norm_eps"),
        ("Qwen3", "rms_norm_eps"), ("Cohere2", "layer_norm_eps"), ("Cohere2", "logit_scale"),
        ("Gemma3", "rms_norm_eps"), ("Olmo3", "rms_norm_eps"), ("Qwen35", "rms_norm_eps"),
        ("Qwen3Moe", "router_aux_loss_coef"),
    ],
)  # fmt: skip
def test_integers_that_no_float_holds(tmp_path, family, field):
    """A fuzzer's find: float() of such an integer raises an OverflowError."""
    save_pretrained(made(family), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    rope = "rope_parameters" if field == "rope_theta" else None
    for value in (10**400, -(10**309)):
        changed = {**config, field: value}
        if rope is not None:
            changed[rope] = {**config[rope], field: value}
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=f"{field} is too large for a number: an int of"):
            from_pretrained(tmp_path)


@pytest.mark.parametrize("value", [10**400, -(10**400), math.inf, math.nan, 0])
def test_positive_fields(value):
    with pytest.raises((ValueError, TypeError), match="norm_eps must be positive and finite"):
        DECODERS["Llama"].config(norm_eps=value)
