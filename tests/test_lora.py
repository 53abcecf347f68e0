"""LoRA: no change at the start, merging, freezing, files, patterns, and what goes wrong."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.optim import AdamW
from tinygrad_llm.weights.formats.safetensors import load_file, save_file

LINEARS = ["att.qkv", "att.out_proj", "ff.layers.0", "ff.layers.2"]
IDS = torch.tensor(np.random.default_rng(0).integers(0, 13, (3, 7)))


def tiny(seed=0, **changes) -> GPT:
    torch.manual_seed(seed)
    fields = dict(vocab_size=13, context_length=8, emb_dim=12, n_heads=3, n_layers=2)
    return GPT(GPTConfig(**{**fields, "drop_rate": 0.0, **changes})).eval()


def array(tensor):
    return tensor.detach().numpy()


def shaken(model, seed=9, scale=0.3):
    """The model with B no longer zero, so that its LoRA layers do something."""
    torch.manual_seed(seed)
    for layer in lora.layers(model):
        layer.lora.lora_B.data = scale * torch.randn(*layer.lora.lora_B.shape)
    return model


def weights(model):
    """The bytes of every parameter that is not a LoRA matrix, under the plain model's names."""
    return {
        name.replace(".linear.", "."): array(p).tobytes()
        for name, p in model.named_parameters()
        if "lora_" not in name
    }


def train(model, parameters, steps=3):
    optimizer = AdamW(parameters, lr=0.01, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        loss = model.loss(IDS[:, :-1], IDS[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# --------------------------------------------------------------------------------- the start
@pytest.mark.parametrize("tied", [True, False])
def test_nothing_changes_at_the_start(tied):
    model = tiny(tie_weights=tied)
    before, loss = array(model(IDS)).tobytes(), model.loss(IDS, IDS).item()
    lora.add(model, rank=4, alpha=8, dropout=0.1)
    assert array(model(IDS)).tobytes() == before
    assert model.loss(IDS, IDS).item() == pytest.approx(loss, abs=1e-6)  # another kernel
    model.train()
    assert array(model(IDS)).tobytes() == before, "B is zero, so dropout changes nothing either"


def test_the_formula():
    """y = W·x + b + (α/r)·B·A·x."""
    torch.manual_seed(1)
    linear = nn.Linear(5, 3)
    layer = lora.LinearWithLoRA(linear, rank=2, alpha=6)
    layer.lora.lora_B.data = torch.randn(3, 2)
    x = torch.randn(4, 5)
    A, B = array(layer.lora.lora_A), array(layer.lora.lora_B)
    assert A.shape == (2, 5) and B.shape == (3, 2) and layer.lora.scaling == 3.0
    W, b = array(linear.weight), array(linear.bias)
    np.testing.assert_allclose(array(layer(x)), array(x) @ (W + 3 * B @ A).T + b, atol=1e-6)
    np.testing.assert_allclose(layer.lora.delta(), 3 * B @ A, atol=1e-6)


def test_a_starts_as_a_linear_does():
    """Uniform within ±1/√in, from the same stream as a Linear's weight."""
    torch.manual_seed(3)
    A = lora.LoRALayer(64, 10, rank=16).lora_A
    torch.manual_seed(3)
    np.testing.assert_array_equal(array(A), array(nn.Linear(64, 16, bias=False).weight))
    assert np.abs(array(A)).max() <= 1 / 8


def test_dropout_in_training_only():
    torch.manual_seed(0)
    layer = lora.LoRALayer(6, 4, rank=2, dropout=0.5)
    layer.lora_B.data = torch.randn(4, 2)
    x = torch.ones(50, 6)
    assert len(np.unique(array(layer(x)), axis=0)) > 1
    layer.eval()
    assert len(np.unique(array(layer(x)), axis=0)) == 1


# ------------------------------------------------------------------------------- merging
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("names", [["*"], ["qkv", "out_proj"], ["out_head"]])
def test_merged_equals_unmerged(tied, names):
    model = tiny(tie_weights=tied)
    plain = array(model(IDS))
    lora.add(model, rank=4, alpha=8, names=names)
    shaken(model)
    bytes_before = weights(model)
    before, loss = array(model(IDS)), model.loss(IDS, IDS).item()
    assert np.abs(before - plain).max() > 1e-3
    lora.merge(model)
    assert all(layer.merged for layer in lora.layers(model))
    np.testing.assert_allclose(array(model(IDS)), before, atol=1e-6)
    assert model.loss(IDS, IDS).item() == pytest.approx(loss, abs=1e-6)
    lora.unmerge(model)
    assert weights(model) == bytes_before
    assert array(model(IDS)).tobytes() == before.tobytes()


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_that_of_the_logits(tied):
    """Also with a LoRA layer on the head, which the fused loss has to know about."""
    model = shaken(lora_everywhere(tiny(tie_weights=tied)))
    logits = model(IDS)
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), IDS.flatten())
    assert model.loss(IDS, IDS).item() == pytest.approx(expected.item(), abs=1e-6)


def lora_everywhere(model):
    lora.add(model, rank=4, alpha=8)
    return model


def test_merging_leaves_a_tied_embedding_alone():
    model = tiny(tie_weights=True)
    embedding = array(model.tok_emb.weight).copy()
    lora.add(model, rank=4, names=["out_head"])
    shaken(model)
    lora.merge(model)
    np.testing.assert_array_equal(array(model.tok_emb.weight), embedding)
    lora.unmerge(model)
    assert model.out_head.weight is model.tok_emb.weight


def test_moving_a_merged_model():
    """The weight that waits to come back goes where the merged one went."""
    model = shaken(lora_everywhere(tiny(tie_weights=False)))
    before = {name: array(p).copy() for name, p in model.named_parameters()}
    lora.merge(model)
    model.double()
    lora.unmerge(model)
    for name, p in model.named_parameters():
        assert p.dtype == torch.float64, name
        np.testing.assert_array_equal(array(p), before[name])
    assert model(IDS).dtype == torch.float64


def test_merging_many_times_leaves_no_trace():
    model = shaken(lora_everywhere(tiny()))
    before = weights(model)
    for _ in range(20):
        lora.merge(model)
        lora.unmerge(model)
    assert weights(model) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_merging_keeps_the_dtype_and_rounds_once(dtype):
    model = shaken(lora_everywhere(tiny(tie_weights=False))).to(dtype)
    expected = {}
    for name, layer in lora.named_layers(model):
        W, A, B = (
            p.detach().double() for p in (layer.weight, layer.lora.lora_A, layer.lora.lora_B)
        )
        expected[name] = (W + B @ A * layer.lora.scaling).to(dtype)
    lora.merge(model)
    for name, layer in lora.named_layers(model):
        assert layer.weight.dtype == dtype, name
        torch.testing.assert_close(layer.weight.detach(), expected[name], rtol=1e-2, atol=1e-6)
    lora.remove(model)
    assert {p.dtype for p in model.parameters()} == {dtype}


@pytest.mark.parametrize("target_merged", [True, False])
@pytest.mark.parametrize("source_merged", [True, False])
def test_a_state_holds_each_change_once(source_merged, target_merged):
    """Whether the models are merged or not when the state is taken and loaded."""
    source, target = shaken(lora_everywhere(tiny())), lora_everywhere(tiny())
    logits = array(source(IDS))
    if source_merged:
        lora.merge(source)
    if target_merged:
        lora.merge(target)
        target(IDS)  # its sums exist already
    target.load_state_dict(source.state_dict())
    np.testing.assert_allclose(array(target(IDS)), logits, atol=1e-6)
    if target_merged:
        lora.unmerge(target)
    assert weights(target) == weights(unmerged(source))


def unmerged(model):
    if lora.layers(model)[0].merged:
        lora.unmerge(model)
    return model


def test_a_merged_model_follows_its_matrices():
    model = shaken(lora_everywhere(tiny()))
    lora.merge(model)
    before = array(model(IDS)).copy()
    with torch.no_grad():
        lora.parameters(model)[1].add_(0.5)
    after = array(model(IDS)).copy()
    assert np.abs(after - before).max() > 1e-4
    lora.unmerge(model)
    np.testing.assert_allclose(array(model(IDS)), after, atol=1e-5)


def test_remove_gives_back_a_plain_model():
    model = tiny()
    names, before, logits = list(model.state_dict()), weights(model), array(model(IDS))
    shaken(lora_everywhere(model))
    lora.remove(model)
    assert list(model.state_dict()) == names and weights(model) == before
    assert array(model(IDS)).tobytes() == logits.tobytes()
    assert all(p.requires_grad for p in model.parameters())


def test_remove_after_merge_keeps_what_was_learned():
    model = tiny()
    lora.add(model, rank=4, names=LINEARS)
    logits = array(shaken(model)(IDS))
    lora.merge(model)
    lora.remove(model)
    np.testing.assert_allclose(array(model(IDS)), logits, atol=1e-6)


# ------------------------------------------------------------------------------- training
@pytest.mark.parametrize("tied", [True, False])
def test_the_base_is_frozen_to_the_byte(tied):
    model = tiny(tie_weights=tied).train()
    before = weights(model)
    lora.add(model, rank=4, alpha=8, dropout=0.1)
    start = [array(p).copy() for p in lora.parameters(model)]
    losses = train(model, model.parameters(), steps=8)
    assert losses[-1] < losses[0]
    assert weights(model) == before
    for old, new in zip(start, lora.parameters(model), strict=True):
        assert np.abs(array(new) - old).max() > 0, "every matrix A and B was trained"


def test_only_lora_has_gradients():
    model = lora_everywhere(tiny())
    train(model, lora.parameters(model), steps=2)
    for name, p in model.named_parameters():
        assert p.requires_grad is ("lora_" in name), name
        assert (p.grad is not None) is ("lora_" in name), name


def test_counts():
    model = tiny()
    total = model.n_parameters()
    lora.add(model, rank=2, names=["qkv"])
    n = 2 * 2 * (12 + 36)  # blocks · rank · (in + out)
    assert lora.count(model) == {"trainable": n, "total": total + n, "lora": n}


# ------------------------------------------------------------------------------- patterns
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("qkv", ["trf_blocks.0.att.qkv", "trf_blocks.1.att.qkv"]),
        (["trf_blocks.1.att.*"], ["trf_blocks.1.att.qkv", "trf_blocks.1.att.out_proj"]),
        (["ff.layers.[02]"], [f"trf_blocks.{i}.ff.layers.{j}" for i in (0, 1) for j in (0, 2)]),
        (["out_head", "nothing"], ["out_head"]),
        (["*"], [f"trf_blocks.{i}.{n}" for i in (0, 1) for n in LINEARS] + ["out_head"]),
    ],
)
def test_patterns(names, expected):
    model = tiny()
    assert lora.add(model, names=names) == expected
    assert [name for name, _ in lora.named_layers(model)] == expected


def test_adding_in_two_steps():
    model = tiny()
    lora.add(model, rank=2, names=["qkv"])
    added = lora.add(model, rank=3, names=["*"])
    assert "trf_blocks.0.att.qkv" not in added and len(lora.layers(model)) == 9
    assert all(p.requires_grad for p in lora.parameters(model))
    assert sorted({layer.lora.rank for layer in lora.layers(model)}) == [2, 3]


# ---------------------------------------------------------------------------------- files
def test_an_adapter_comes_back(tmp_path):
    model = tiny()
    lora.add(model, rank=3, alpha=12, dropout=0.25, names=["qkv", "ff.layers.0"])
    shaken(model)
    folder = lora.save(model, tmp_path / "an" / "adapter", base_model="tiny")
    assert {f.name for f in folder.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 12, 0.25)
    assert config["base_model_name_or_path"] == "tiny"
    assert all("lora_" in name for name in load_file(folder / "adapter_model.safetensors"))
    other = tiny()
    changed = lora.load(other, folder)
    assert sorted(changed) == sorted(name for name, _ in lora.named_layers(model))
    assert not any(module.training for module in other.modules()), "it stays in evaluation mode"
    assert array(other(IDS)).tobytes() == array(model(IDS)).tobytes()
    layer = lora.layers(other)[0].lora
    assert (layer.rank, layer.alpha, layer.dropout) == (3, 12.0, 0.25)
    lora.load(other, folder)  # into a model that has the layers already
    assert array(other(IDS)).tobytes() == array(model(IDS)).tobytes()


def test_scaling_is_loaded_too(tmp_path):
    """A model whose LoRA layers have another alpha takes the file's."""
    model = shaken(lora_everywhere(tiny()))
    lora.save(model, tmp_path)
    other = tiny()
    lora.add(other, rank=4, alpha=1)
    lora.load(other, tmp_path)
    assert array(other(IDS)).tobytes() == array(model(IDS)).tobytes()


def adapter(tmp_path):
    model = tiny()
    lora.add(model, rank=2, names=["qkv"])
    return lora.save(model, tmp_path)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_an_adapter(tmp_path, file):
    (adapter(tmp_path) / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing: a LoRA adapter is a folder"):
        lora.load(tiny(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', expected 'LORA'"),
        ({"use_rslora": True}, "use_rslora=True is not supported"),
        ({"use_dora": True}, "use_dora=True is not supported"),
        ({"bias": "all"}, "bias='all' is not supported"),
        ({"rank_pattern": {"qkv": 3}}, "rank_pattern"),
        ({"alpha_pattern": {"qkv": 3}}, "alpha_pattern=a dict of 1 is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' has changed the weights of"),
        ({"init_lora_weights": "pissa_niter_16"}, "has changed the weights of the base model"),
        ({"init_lora_weights": "olora"}, "has changed the weights of the base model"),
        ({"init_lora_weights": "loftq"}, "has changed the weights of the base model"),
        ({"init_lora_weights": ["x"]}, "init_lora_weights=a list of 1 has changed"),
        ({"lora_bias": True}, "lora_bias=True is not supported"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication=a list of 2"),
        ({"target_parameters": ["x"]}, "target_parameters=a list of 1"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices=a list of 1"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens=a list of 1"),
        ({"target_modules": 5}, "'target_modules' should be a list, got 5"),
        ({"target_modules": ["qkv", None]}, "'target_modules' should be a list, got a list of 2"),
        ({"r": 3}, r"lora_A has shape \(2, 12\), the model expects \(3, 12\)"),
    ],
)
def test_adapters_that_are_not_supported(tmp_path, change, message):
    path = adapter(tmp_path) / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    model = tiny()
    with pytest.raises(ValueError, match=message):
        lora.load(model, tmp_path)
    assert not list(lora.named_layers(model)), "a file that is refused changes nothing"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {n: x.astype("int64") for n, x in a.items()}, "holds int64, expected floating"),
        (lambda a: {n: x > 0 for n, x in a.items()}, "holds bool, expected floating"),
        (lambda a: {n.replace("qkv", "query"): x for n, x in a.items()}, "no Linear called"),
        (lambda a: dict(list(a.items())[:3]), r"has only \[.*\], expected lora_A and lora_B"),
        (lambda a: {**a, "something.weight": np.ones(2, np.float32)}, "neither a lora_A nor"),
        (
            lambda a: {n: x if "lora_A" in n else x[:-1].copy() for n, x in a.items()},
            r"lora_B has shape \(35, 2\), the model expects \(36, 2\)",
        ),
    ],
)
def test_adapters_for_another_model(tmp_path, change, message):
    path = adapter(tmp_path) / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    model = tiny()
    with pytest.raises(ValueError, match=message):
        lora.load(model, tmp_path)
    assert not list(lora.named_layers(model))


def test_one_file_holds_one_setting(tmp_path):
    model = tiny()
    lora.add(model, rank=2, names=["qkv"])
    lora.add(model, rank=3, names=["out_proj"])
    with pytest.raises(ValueError, match="one adapter file holds one setting"):
        lora.save(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_loading_into_merged_layers(tmp_path):
    adapter(tmp_path)
    model = tiny()
    lora.load(model, tmp_path)
    lora.merge(model)
    with pytest.raises(RuntimeError, match="is merged: lora.unmerge"):
        lora.load(model, tmp_path)


# --------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be a positive integer, got 0"),
        ({"rank": 2.0}, "rank must be a positive integer, got 2.0"),
        ({"rank": True}, "rank must be a positive integer, got True"),
        ({"alpha": 0}, "alpha must be positive, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and less than 1, got 1.0"),
        ({"names": ["Q"]}, "no Linear is called 'Q'; there are: trf_blocks.0.att.qkv"),
        ({"names": []}, "no Linear is called"),
    ],
)
def test_wrong_settings_leave_the_model_alone(options, message):
    model = tiny()
    with pytest.raises(ValueError, match=message):
        lora.add(model, **options)
    assert not list(lora.named_layers(model))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "function", [lora.merge, lora.unmerge, lora.remove, lora.parameters, lora.count]
)
def test_a_model_without_lora(function):
    with pytest.raises(ValueError, match="has no LoRA layers"):
        function(tiny())


def test_merging_twice():
    model = lora_everywhere(tiny())
    with pytest.raises(RuntimeError, match="not merged"):
        lora.unmerge(model)
    lora.merge(model)
    with pytest.raises(RuntimeError, match="merged already"):
        lora.merge(model)


def test_only_linear_layers():
    with pytest.raises(TypeError, match="expected a Linear, got Embedding"):
        lora.LinearWithLoRA(nn.Embedding(3, 4))


# -------------------------------------------------------------- modules trained beside LoRA
def test_a_module_that_is_trained_whole():
    model = tiny()
    added = lora.add(model, rank=2, names=["*"], modules_to_save=["trf_blocks.0.ff.layers.0"])
    assert "trf_blocks.0.ff.layers.0" not in added
    free = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n}
    assert free == {"trf_blocks.0.ff.layers.0.weight", "trf_blocks.0.ff.layers.0.bias"}
    config = lora.settings(model)
    assert config["modules_to_save"] == ["trf_blocks.0.ff.layers.0"] and config["names"] == added
    lora.add(model, rank=2, names=["*"])  # a second call leaves it free
    assert model.get_submodule("trf_blocks.0.ff.layers.0.linear") is not None
    again = tiny()
    lora.add(again, **config)
    assert [n for n, _ in lora.named_layers(again)] == added


def test_it_is_in_the_adapter(tmp_path):
    model = tiny()
    lora.add(model, rank=2, names=["qkv"], modules_to_save=["final_norm"])
    shaken(model)
    with torch.no_grad():
        model.final_norm.weight.normal_()
    lora.save(model, tmp_path)
    names = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert {n for n in names if "lora_" not in n} == {
        "base_model.model.final_norm.weight",
        "base_model.model.final_norm.bias",
    }
    other = tiny()
    lora.load(other, tmp_path)
    assert array(other(IDS)).tobytes() == array(model(IDS)).tobytes()
    assert other.final_norm.weight.requires_grad and not other.tok_emb.weight.requires_grad
    with pytest.raises(ValueError, match="no module called 'last_norm'"):
        lora.add(tiny(), modules_to_save=["last_norm"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "adapter_config.json is not JSON"),
        ("[]", "should hold one JSON object"),
        ('{"peft_type": "LORA", "lora_alpha": 1, "lora_dropout": 0}', "has no 'r'"),
    ],
)
def test_a_broken_adapter_config(tmp_path, text, message):
    (adapter(tmp_path) / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        lora.load(tiny(), tmp_path)


def test_an_adapter_cut_short(tmp_path):
    file = adapter(tmp_path) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match="adapter_model.safetensors"):
        lora.load(tiny(), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"2"', "rank must be a positive integer, got '2'"),
        ("2.0", "rank must be a positive integer"),
        ("true", "rank must be a positive integer"),
        ("null", "rank must be a positive integer, got None"),
        ("-1", "rank must be a positive integer"),
        ("[2]", "rank must be a positive integer, got a list of 1"),
        ("1" + "0" * 300, "rank must be at most .* got an int of"),
        ("100000000", "lora_A has shape|rank must be at most"),
    ],
)
def test_a_rank_that_cannot_be(tmp_path, text, message):
    refused(tmp_path, "r", text, message)


@pytest.mark.parametrize("text", ["null", '"16"', "NaN", "Infinity", "-1", "0", "true", "[]", "{}",
                                  "1" + "0" * 400])  # fmt: skip
def test_an_alpha_that_cannot_be(tmp_path, text):
    refused(tmp_path, "lora_alpha", text, "alpha")


@pytest.mark.parametrize("text", ["null", '"0"', "NaN", "1", "-0.5", "1e400", "false", "[0.1]"])
def test_a_dropout_that_cannot_be(tmp_path, text):
    refused(tmp_path, "lora_dropout", text, "dropout")


@pytest.mark.parametrize("text", ['"final_norm"', "[1]", "[null]", '[["final_norm"]]', "3", "{}"])
def test_names_that_are_none(tmp_path, text):
    refused(tmp_path, "modules_to_save", text, "modules_to_save")


def refused(tmp_path, name, text, message):
    """An adapter whose config has this text as a value changes no model, with or without LoRA."""
    path = adapter(tmp_path) / "adapter_config.json"
    config = json.loads(path.read_text())
    config[name] = "HERE"
    path.write_text(json.dumps(config).replace('"HERE"', text))
    for model in (tiny(), lora_everywhere(tiny())):
        before = [(layer.lora.rank, layer.lora.alpha) for layer in lora.layers(model)]
        with pytest.raises(ValueError, match=message):
            lora.load(model, tmp_path)
        assert [(layer.lora.rank, layer.lora.alpha) for layer in lora.layers(model)] == before


@pytest.mark.parametrize("options", [
    {"rank": "8"}, {"rank": 10**9}, {"alpha": None}, {"alpha": math.nan}, {"alpha": math.inf},
    {"alpha": "16"}, {"dropout": None}, {"dropout": math.nan}, {"dropout": True},
])  # fmt: skip
def test_settings_are_checked_before_memory_is_taken(options):
    model = tiny()
    with pytest.raises(ValueError, match=f"LoRA: {next(iter(options))} must be"):
        lora.add(model, **options)
    assert not lora.layers(model)
