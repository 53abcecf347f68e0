"""PEFT reads our adapters and this package reads PEFT's: the same logits in both directions."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers import lora  # noqa: E402

X = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)


def program(torch):
    """One small network, for the library given."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 10)
            self.act = nn.GELU()
            self.second = nn.Linear(10, 4)

        def forward(self, x):
            return self.second(self.act(self.first(x)))

    torch.manual_seed(0)
    return Net().eval()


def test_an_adapter_made_here_loads_in_peft(tmp_path):
    ours = program(tg)
    lora.add(ours, rank=3, alpha=12, dropout=0.1)
    for layer in lora.layers(ours):
        layer.lora.lora_B.data = tg.randn(*layer.lora.lora_B.shape)
    lora.save(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(program(torch), tmp_path).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(X)).numpy()
    outputs = ours(tg.from_numpy(X)).detach().numpy()
    assert np.abs(outputs - program(tg)(tg.from_numpy(X)).detach().numpy()).max() > 0.1
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("targets", [["first"], ["first", "second"]])
def test_an_adapter_of_peft_loads_here(tmp_path, targets):
    config = peft.LoraConfig(r=2, lora_alpha=7, lora_dropout=0.2, target_modules=targets)
    theirs = peft.get_peft_model(program(torch), config).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name:
                p.normal_()
        expected = theirs(torch.from_numpy(X)).numpy()
    theirs.save_pretrained(tmp_path)
    ours = program(tg)
    assert sorted(lora.load(ours, tmp_path)) == targets
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)
    lora.merge(ours)
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)


def test_modules_that_are_trained_whole_go_both_ways(tmp_path):
    """PEFT's modules_to_save: a new output layer beside LoRA layers."""
    ours = program(tg)
    lora.add(ours, rank=2, names=["first"], modules_to_save=["second"])
    with tg.no_grad():
        ours.second.weight.normal_()
        lora.layers(ours)[0].lora.lora_B.normal_()
    lora.save(ours, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(program(torch), tmp_path / "ours").eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)

    config = peft.LoraConfig(r=2, target_modules=["first"], modules_to_save=["second"])
    theirs = peft.get_peft_model(program(torch), config).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                p.normal_()
        expected = theirs(torch.from_numpy(X)).numpy()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = program(tg)
    assert lora.load(ours, tmp_path / "theirs") == ["first"]
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)


# --------------------------------------------------------------- transformers' GPT-2 as the base
transformers = pytest.importorskip("transformers")
IDS = np.random.default_rng(2).integers(0, 21, (2, 7))
HF = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]


def two_gpt2(tmp_path):
    """(ours, transformers') with the same weights, tiny and random."""
    config = transformers.GPT2Config(
        n_layer=2, n_embd=12, n_head=3, vocab_size=21, n_positions=9, bos_token_id=20,
        eos_token_id=20, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path / "base")
    return tg.models.from_pretrained(tmp_path / "base").eval(), theirs


def logits_of(theirs):
    with torch.no_grad():
        return theirs(torch.from_numpy(IDS)).logits.numpy()


def close(ours, expected):
    logits = ours(tg.from_numpy(IDS)).detach().numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("targets,whole", [
    (["c_attn"], None), (HF, None), (["h.1.attn.c_attn", "mlp.c_proj"], ["ln_f"]),
    (["c_attn", "lm_head"], None), (["c_fc"], ["h.0.mlp.c_proj", "h.1.ln_1"]),
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_peft_for_gpt2_loads_here(tmp_path, targets, whole):
    ours, base = two_gpt2(tmp_path)
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets, modules_to_save=whole,
                             fan_in_fan_out=True)  # fmt: skip
    theirs = peft.get_peft_model(base, config).eval()
    before = logits_of(theirs)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                p.normal_()
    expected = logits_of(theirs)
    assert np.abs(expected - before).max() > 0.1
    theirs.save_pretrained(tmp_path / "adapter")
    assert lora.load(ours, tmp_path / "adapter")
    close(ours, expected)
    lora.merge(ours)
    close(ours, expected)
    lora.unmerge(ours)
    lora.save(ours, tmp_path / "again", published=True)
    again = peft.PeftModel.from_pretrained(two_gpt2(tmp_path / "b")[1], tmp_path / "again").eval()
    close(ours, logits_of(again))


SETTINGS = {  # of PEFT: None if the adapter computes the same here, or why it is refused
    "a pattern": (dict(target_modules=r".*\.h\.1\..*c_attn"), None),
    "all linear": (dict(target_modules="all-linear"), None),
    "one layer": (dict(layers_to_transform=[1]), None),
    "without some": (dict(exclude_modules=["mlp.c_proj"]), None),
    "alpha of a half": (dict(lora_alpha=2.5), None),
    "drawn from a normal": (dict(init_lora_weights="gaussian"), None),
    "orthogonal": (dict(init_lora_weights="orthogonal", r=4), None),
    "without fan_in_fan_out": (dict(fan_in_fan_out=False), None),
    "embeddings": (dict(modules_to_save=["wte"]), None),
    "positions and the head": (dict(modules_to_save=["wpe", "lm_head"]), None),
    "ranks": (dict(rank_pattern={"c_proj": 2}), "rank_pattern"),
    "alphas": (dict(alpha_pattern={"c_attn": 3}), "alpha_pattern"),
    "rsLoRA": (dict(use_rslora=True), "use_rslora"),
    "DoRA": (dict(use_dora=True), "use_dora"),
    "biases": (dict(bias="all"), "bias='all'"),
    "biases of LoRA": (dict(lora_bias=True), "lora_bias"),
    "LoRA of the embedding": (dict(target_modules=["wte"]), "neither a lora_A nor a lora_B"),
    "some tokens": (dict(trainable_token_indices=[1, 2]), "trainable_token_indices"),
    "PiSSA": (dict(init_lora_weights="pissa"), "has changed the weights of the base model"),
    "PiSSA in steps": (dict(init_lora_weights="pissa_niter_4"), "has changed the weights of"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.filterwarnings("ignore")
def test_settings_of_peft_compute_the_same_or_are_refused(tmp_path, name):
    changes, reason = SETTINGS[name]
    ours, base = two_gpt2(tmp_path)
    plain = dict(r=3, lora_alpha=7, target_modules=HF, fan_in_fan_out=True)
    theirs = peft.get_peft_model(base, peft.LoraConfig(**{**plain, **changes})).eval()
    with torch.no_grad():
        for key, p in theirs.named_parameters():
            if p.requires_grad and not any(n in key for n in ("lora_A", "embedding_A", "magn")):
                p.normal_()
    expected = logits_of(theirs)
    theirs.save_pretrained(tmp_path / "adapter")
    if reason is not None:
        with pytest.raises(ValueError, match=reason):
            lora.load(ours, tmp_path / "adapter")
        return
    lora.load(ours, tmp_path / "adapter")
    close(ours, expected)


@pytest.mark.parametrize("names,whole", [
    (["qkv"], []), (["*"], []), (["ff.layers.0", "out_head"], ["final_norm"]),
    (["att.*"], ["trf_blocks.0.ff.layers.2"]),
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_made_here_loads_in_peft_for_gpt2(tmp_path, names, whole):
    ours, base = two_gpt2(tmp_path)
    lora.add(ours, rank=2, alpha=5, dropout=0.1, names=names, modules_to_save=whole)
    ours.eval()
    with tg.no_grad():
        for layer in lora.layers(ours):
            layer.lora.lora_B.normal_()
        for name in whole:
            ours.get_submodule(name).weight.normal_()
    lora.save(ours, tmp_path / "adapter", "gpt2", published=True)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert all(n.startswith("transformer.h.") or n == "lm_head" for n in config["target_modules"])
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    close(ours, logits_of(theirs))
    ours_again, _ = two_gpt2(tmp_path / "again")
    lora.load(ours_again, tmp_path / "adapter")
    close(ours_again, logits_of(theirs))


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_with_another_base_weight_is_refused(tmp_path):
    ours, base = two_gpt2(tmp_path)
    config = peft.LoraConfig(r=2, target_modules=["lm_head"])
    theirs = peft.get_peft_model(base, config)
    theirs.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    with tg.no_grad():
        ours.tok_emb.weight.mul_(2.0)
    with pytest.raises(ValueError, match="another base model"):
        lora.load(ours, tmp_path / "adapter")
    with pytest.raises(ValueError, match="no published names"):
        net = program(tg)
        lora.add(net)
        lora.save(net, tmp_path / "x", published=True)


# ------------------------------------------------------------- one matrix here, three in theirs
LLAMAS = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {}),
    "gemma3": (
        transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM, {"tie_word_embeddings": True}
    ),
}  # fmt: skip


def two_decoders(folder, family="llama"):
    """(ours, transformers') with the same weights, tiny and random."""
    config, model, more = LLAMAS[family]
    sizes = dict(
        vocab_size=21, hidden_size=12, intermediate_size=20, num_hidden_layers=2, head_dim=8,
        num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=16,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = model(config(**{**sizes, "tie_word_embeddings": False, **more})).eval()
    theirs.save_pretrained(folder / "base")
    return tg.models.from_pretrained(folder / "base").eval(), theirs


@pytest.mark.parametrize("family,targets,whole,k", [
    ("llama", ["q_proj", "v_proj"], None, 2),
    ("llama", ["k_proj", "down_proj"], None, 1),
    ("llama", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"], ["lm_head"], 3),
    ("llama", ["up_proj"], ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "norm"], 1),
    ("qwen2", ["q_proj", "k_proj", "v_proj", "up_proj"], None, 3),
    ("gemma3", ["q_proj", "v_proj", "o_proj"], None, 2),
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_peft_for_separate_q_k_and_v_loads_here(tmp_path, family, targets, whole, k):
    ours, base = two_decoders(tmp_path, family)
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets, modules_to_save=whole)
    theirs = peft.get_peft_model(base, config).eval()
    before = logits_of(theirs)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                p.normal_()
    expected = logits_of(theirs)
    assert np.abs(expected - before).max() > 0.01
    theirs.save_pretrained(tmp_path / "adapter")
    assert lora.load(ours, tmp_path / "adapter")
    assert lora.settings(ours)["rank"] == 3 * k and lora.settings(ours)["alpha"] == 7 * k
    close(ours, expected)
    lora.merge(ours)
    close(ours, expected)
    lora.unmerge(ours)
    lora.save(ours, tmp_path / "again", published=True)
    other = two_decoders(tmp_path / "b", family)
    close(ours, logits_of(peft.PeftModel.from_pretrained(other[1], tmp_path / "again").eval()))
    lora.load(other[0], tmp_path / "again")  # all A of a layer are the same now
    assert lora.settings(other[0])["rank"] == 3 * k
    close(other[0], expected)


@pytest.mark.parametrize("family", LLAMAS)
@pytest.mark.parametrize("names,whole", [
    (["qkv"], []), (["*"], []), (["ff.*"], ["trf_blocks.1.att.qkv", "final_norm"]),
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_made_here_loads_in_peft_as_separate_q_k_and_v(tmp_path, family, names, whole):
    if family == "qwen2" and whole:
        names, whole = ["att.*"], ["final_norm"]  # the biases of q, k, v are tried above
    ours, base = two_decoders(tmp_path, family)
    lora.add(ours, rank=2, alpha=5, dropout=0.1, names=names, modules_to_save=whole)
    ours.eval()
    with tg.no_grad():
        for layer in lora.layers(ours):
            layer.lora.lora_B.normal_()
        for name in whole:
            ours.get_submodule(name).weight.normal_()
    lora.save(ours, tmp_path / "adapter", "llama", published=True)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    close(ours, logits_of(theirs))
    again, _ = two_decoders(tmp_path / "again", family)
    lora.load(again, tmp_path / "adapter")
    close(again, logits_of(theirs))
    assert lora.settings(again)["rank"] == 2


@pytest.mark.filterwarnings("ignore")
def test_adapters_for_q_k_and_v_that_do_not_fit_are_refused(tmp_path):
    ours, base = two_decoders(tmp_path)
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "k_proj"]))
    theirs.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    whole = tg.weights.load_file(file)
    key = "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight"
    short = {**whole, key: whole[key][:-1]}
    without = {name: array for name, array in whole.items() if name != key}
    stray = {**whole, key.replace("layers.0", "layers.7"): whole[key]}
    for arrays, message in (
        (short, "expected 8 rows"), (without, "has only"), (stray, "no Linear called"),
    ):  # fmt: skip
        tg.weights.save_file(arrays, file)
        with pytest.raises(ValueError, match=message):
            lora.load(ours, tmp_path / "adapter")
    assert not lora.layers(ours)
