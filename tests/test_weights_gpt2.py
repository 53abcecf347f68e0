"""GPT-2's weights in files: there and back, and every way in which a file can be wrong."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch_zip
from http_server import serving

import tinygrad_llm as torch
from tinygrad_llm.files import downloads
from tinygrad_llm.files.downloads import DATA_VARIABLE, DownloadError
from tinygrad_llm.layers import lora
from tinygrad_llm.models import (
    GPT,
    GPTConfig,
    build_gpt2,
    from_pretrained,
    load_gpt2,
    pretrained,
    save_pretrained,
)
from tinygrad_llm.weights.families.gpt2 import GPT2Weights, to_huggingface, to_openai
from tinygrad_llm.weights.formats.safetensors import SafeTensorsError, load_file, save, save_file
from tinygrad_llm.weights.formats.torch_file import TorchFileError

CONFIG = {"vocab_size": 11, "context_length": 6, "emb_dim": 8, "n_heads": 2, "n_layers": 2}


def tiny(**changes) -> GPT:
    """A small GPT in evaluation mode whose biases and norms are not zero or one either."""
    torch.manual_seed(5)
    model = GPT(GPTConfig(**{**CONFIG, **changes})).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(*parameter.shape)
    return model


def state(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def bin_file(arrays):
    """The bytes that PyTorch's torch.save writes for a state dict, one storage a tensor."""
    storages = {str(i): array for i, array in enumerate(arrays.values())}
    tensors = {}
    for i, (name, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        tensors[name] = torch_zip.tensor(
            str(i), array.dtype.name, array.size, 0, array.shape, strides
        )
    return torch_zip.archive(tensors, storages)


def assert_same(a: GPT, b: GPT) -> None:
    first, second = state(a), state(b)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype == np.float32
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    ids = torch.tensor([[1, 4, 2, 10, 0]])
    np.testing.assert_array_equal(a(ids).detach().numpy(), b(ids).detach().numpy())


@pytest.fixture
def arrays():
    return to_huggingface(tiny().state_dict())


# ------------------------------------------------------------------------------ there and back
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_comes_back_to_the_bit(tmp_path, tied):
    model = tiny(tie_weights=tied, drop_rate=0.2)
    back = load_gpt2(save_pretrained(model, tmp_path / "made" / "here"))
    assert back.config == model.config
    assert not back.training
    assert (back.out_head.weight is back.tok_emb.weight) is tied
    assert_same(model, back)


def test_names_and_layout_are_hugging_faces(arrays):
    model = tiny()
    assert arrays["transformer.wte.weight"].shape == (11, 8)
    assert arrays["transformer.wpe.weight"].shape == (6, 8)
    assert arrays["transformer.h.1.attn.c_attn.weight"].shape == (8, 24)
    assert arrays["transformer.h.1.attn.c_proj.weight"].shape == (8, 8)
    assert arrays["transformer.h.1.mlp.c_fc.weight"].shape == (8, 32)
    assert arrays["transformer.h.1.mlp.c_proj.weight"].shape == (32, 8)
    assert len(arrays) == 4 + 2 * 12
    np.testing.assert_array_equal(
        arrays["transformer.h.0.attn.c_attn.weight"],
        model.trf_blocks[0].att.qkv.weight.detach().numpy().T,
    )
    np.testing.assert_array_equal(  # square, so that the shape would not tell
        arrays["transformer.h.0.attn.c_proj.weight"],
        model.trf_blocks[0].att.out_proj.weight.detach().numpy().T,
    )


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_with_and_without_prefix_and_with_stored_masks(tmp_path, prefix):
    model = tiny()
    arrays = to_huggingface(model.state_dict(), prefix)
    for i in range(2):
        arrays[f"{prefix}h.{i}.attn.bias"] = np.tril(np.ones((1, 1, 6, 6), np.float32))
        arrays[f"{prefix}h.{i}.attn.masked_bias"] = np.array(-1e4, np.float32)
    arrays["lm_head.weight"] = arrays[prefix + "wte.weight"]
    save_file(arrays, tmp_path / "any name")
    assert_same(model, load_gpt2(tmp_path / "any name", n_heads=2))


def test_a_bin_file_of_torch_save(tmp_path):
    model = tiny()
    arrays = to_huggingface(model.state_dict())
    (tmp_path / "pytorch_model.bin").write_bytes(bin_file(arrays))
    assert_same(model, load_gpt2(tmp_path, n_heads=2))


@pytest.mark.parametrize("rename", [str, "{}:0".format, lambda n: n.removeprefix("model/")])
def test_openais_variables(rename):
    model = tiny()
    variables = to_openai(model.state_dict())
    assert variables["model/h0/attn/c_attn/w"].shape == (1, 8, 24)
    assert variables["model/h1/ln_2/g"].shape == variables["model/ln_f/b"].shape == (8,)
    assert {"model/wte", "model/wpe", "model/h1/mlp/c_proj/b"} <= variables.keys()
    assert len(variables) == 28
    assert_same(model, build_gpt2({rename(n): a for n, a in variables.items()}, n_heads=2))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floats_become_float32(arrays, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    lower = {name: array.astype(dtype) for name, array in arrays.items()}
    model = build_gpt2(lower, n_heads=2)
    for name, array in to_huggingface(model.state_dict()).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, lower[name].astype(np.float32))


def test_no_qkv_bias_is_a_bias_of_zeros():
    model = tiny(qkv_bias=False)
    back = build_gpt2(to_huggingface(model.state_dict()), n_heads=2)
    assert not back.trf_blocks[0].att.qkv.bias.detach().numpy().any()
    ids = torch.tensor([[3, 1, 7]])
    np.testing.assert_allclose(back(ids).detach().numpy(), model(ids).detach().numpy(), atol=1e-6)


def test_a_head_of_its_own_stays_its_own(arrays):
    arrays["lm_head.weight"] = arrays["transformer.wte.weight"] + 1
    model = build_gpt2(arrays, n_heads=2)
    assert not model.config.tie_weights
    np.testing.assert_array_equal(model.out_head.weight.detach().numpy(), arrays["lm_head.weight"])
    with pytest.raises(ValueError, match="lm_head.weight is not wte.weight"):
        build_gpt2(arrays, n_heads=2, tie_weights=True)


def test_a_head_that_was_untied_later_is_saved(tmp_path):
    """As merging a LoRA layer on a tied head leaves it."""
    model = tiny()
    lora.add(model, names=["*"])
    for layer in lora.layers(model):
        layer.lora.lora_B.data = torch.randn(*layer.lora.lora_B.shape)
    lora.merge(model)
    lora.remove(model)
    back = load_gpt2(save_pretrained(model, tmp_path))
    assert not back.config.tie_weights
    assert_same(model, back)


def test_changes(arrays):
    model = build_gpt2(arrays, n_heads=4, drop_rate=0.3, context_length=4, tie_weights=False)
    assert model.config == GPTConfig(11, 4, 8, 4, 2, 0.3, True, False)
    np.testing.assert_array_equal(
        model.pos_emb.weight.detach().numpy(), arrays["transformer.wpe.weight"][:4]
    )
    assert model.out_head.weight is not model.tok_emb.weight
    np.testing.assert_array_equal(
        model.out_head.weight.detach().numpy(), model.tok_emb.weight.detach().numpy()
    )


def test_heads_have_64_channels_where_nobody_says_otherwise():
    model = tiny(emb_dim=128, n_heads=2, n_layers=1)
    assert build_gpt2(to_huggingface(model.state_dict())).config.n_heads == 2


def test_building_draws_nothing(arrays):
    torch.manual_seed(1)
    build_gpt2(arrays, n_heads=2)
    after = torch.randn(3)
    torch.manual_seed(1)
    np.testing.assert_array_equal(after.detach().numpy(), torch.randn(3).detach().numpy())


def test_the_model_owns_its_weights(arrays):
    model = build_gpt2(arrays, n_heads=2)
    before = model.tok_emb.weight.detach().numpy().copy()
    arrays["transformer.wte.weight"][:] = 0
    np.testing.assert_array_equal(model.tok_emb.weight.detach().numpy(), before)


# ------------------------------------------------------------------------------------ bad input
def test_a_missing_weight(arrays):
    del arrays["transformer.h.1.mlp.c_fc.bias"]
    with pytest.raises(ValueError, match=r"missing: h\.1\.mlp\.c_fc\.bias$"):
        build_gpt2(arrays, n_heads=2)


def test_an_unexpected_weight(arrays):
    arrays["transformer.h.1.mlp.c_gate.weight"] = np.ones((8, 32), np.float32)
    with pytest.raises(ValueError, match=r"unexpected: h\.1\.mlp\.c_gate\.weight$"):
        build_gpt2(arrays, n_heads=2)


def test_a_wrong_shape_is_named_with_both_shapes(arrays):
    arrays["transformer.h.0.attn.c_attn.weight"] = np.ones((24, 8), np.float32)
    message = r"h\.0\.attn\.c_attn\.weight has shape \(24, 8\), expected \(8, 24\)"
    with pytest.raises(ValueError, match=message):
        build_gpt2(arrays, n_heads=2)


def test_many_problems_in_one_message(arrays):
    bad = {n: a for n, a in arrays.items() if ".h.0." not in n}
    bad["transformer.ln_f.bias"] = np.ones(3, np.float32)
    with pytest.raises(ValueError) as error:
        build_gpt2(bad, n_heads=2)
    text = str(error.value)
    assert "ln_f.bias has shape (3,), expected (8,)" in text
    assert "missing: h.0.ln_1.weight" in text and "and 6 more" in text


def test_a_gap_between_blocks(arrays):
    bad = {n.replace(".h.1.", ".h.7."): a for n, a in arrays.items()}
    with pytest.raises(ValueError, match=r"(?s)missing: h\.1\.ln_1.*unexpected: h\.7\.ln_1"):
        build_gpt2(bad, n_heads=2)


@pytest.mark.parametrize("weights", [{}, {"model.embed_tokens.weight": np.ones((3, 4))}])
def test_another_model(weights):
    with pytest.raises(ValueError, match=r"wte\.weight is missing, so this is not a GPT-2"):
        build_gpt2(weights)


def test_an_embedding_that_is_no_matrix(arrays):
    arrays["transformer.wpe.weight"] = np.ones(48, np.float32)
    with pytest.raises(ValueError, match=r"wpe\.weight has shape \(48,\), expected a matrix"):
        build_gpt2(arrays, n_heads=2)


def test_twice_the_same_weight(arrays):
    arrays["ln_f.bias"] = arrays["transformer.ln_f.bias"]
    with pytest.raises(ValueError, match=r"ln_f\.bias is there twice"):
        build_gpt2(arrays, n_heads=2)


def test_whole_numbers_are_no_weights(arrays):
    arrays["transformer.ln_f.bias"] = np.ones(8, np.int64)
    with pytest.raises(TypeError, match=r"ln_f\.bias is int64, but weights are float16"):
        build_gpt2(arrays, n_heads=2)


def test_unknown_number_of_heads(arrays):
    with pytest.raises(ValueError, match=r"emb_dim=8 is not a multiple of 64.*pass n_heads"):
        build_gpt2(arrays)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"vocab_size": 12}, ValueError, "vocab_size is 11 in the weights and cannot be 12"),
        ({"n_layers": 1}, ValueError, "n_layers is 2 in the weights and cannot be 1"),
        (
            {"context_length": 7},
            ValueError,
            "positions for 6 tokens, so context_length cannot be 7",
        ),
        ({"qkv_bias": False}, ValueError, "qkv_bias must be True"),
        ({"n_heads": 3}, ValueError, "multiple of n_heads"),
        ({"heads": 3}, TypeError, "GPTConfig has no 'heads'; it has vocab_size"),
    ],
)
def test_changes_that_cannot_be(arrays, change, kind, message):
    with pytest.raises(kind, match=message):
        build_gpt2(arrays, **{"n_heads": 2, **change})


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_gpt2(tmp_path / "gpt2.safetensors")
    with pytest.raises(FileNotFoundError, match="neither model.safetensors nor pytorch_model.bin"):
        load_gpt2(tmp_path)


@pytest.mark.parametrize("cut", [4, 100, -1])
def test_a_safetensors_file_cut_short(tmp_path, arrays, cut):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(arrays)[:cut])
    with pytest.raises(SafeTensorsError, match=r"model\.safetensors"):
        load_gpt2(path)


@pytest.mark.parametrize("cut", [100, -1])
def test_a_bin_file_cut_short(tmp_path, arrays, cut):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(bin_file(arrays)[:cut])
    with pytest.raises(TorchFileError, match=r"pytorch_model\.bin is cut short or damaged"):
        load_gpt2(path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.gguf"])
def test_a_file_of_something_else(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:248dfc")
    with pytest.raises(SafeTensorsError, match=f"{name}: this is a pointer of Git LFS"):
        from_pretrained(path)
    path.write_bytes(b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>")
    with pytest.raises(SafeTensorsError, match="not a safetensors file"):
        from_pretrained(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama', but this GPT has 'gpt2'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'.*'gelu_new'"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
        ({"n_inner": 16}, "n_inner is 16"),
        ({"vocab_size": 12}, r"wte\.weight has shape \(11, 8\), expected \(12, 8\)"),
        ({"n_positions": 5}, r"wpe\.weight has shape \(6, 8\), expected \(5, 8\)"),
        ({"n_layer": 3}, r"missing: h\.2\.ln_1\.weight"),
        ({"resid_pdrop": 0.5}, "pass drop_rate"),
    ],
)
def test_a_config_that_does_not_fit(tmp_path, change, message):
    folder = save_pretrained(tiny(), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        load_gpt2(folder)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "should hold one JSON object")]
)
def test_a_broken_config(tmp_path, text, message):
    folder = save_pretrained(tiny(), tmp_path)
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_gpt2(folder)


def test_different_dropout_rates_are_a_choice(tmp_path):
    folder = save_pretrained(tiny(), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "resid_pdrop": 0.5}))
    assert load_gpt2(folder, drop_rate=0.5).config.drop_rate == 0.5


# ------------------------------------------------------------------------------------ downloads
@pytest.fixture
def published(monkeypatch, tmp_path, arrays):
    """A server of this machine that publishes the tiny model as "gpt2"."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "cache"))
    make = GPTConfig.gpt2_small
    monkeypatch.setattr(
        pretrained.GPTConfig,
        "gpt2_small",
        classmethod(lambda cls, **changes: make(**{**CONFIG, **changes})),
    )
    data = save(arrays)
    with serving() as server:

        def publish(kind="good", sha256="right", n_bytes="right", sent=data):
            remote = downloads.RemoteFile(
                file_name="gpt2.safetensors",
                addresses=(server.add("/gpt2", kind, sent),),
                sha256=hashlib.sha256(data).hexdigest() if sha256 == "right" else sha256,
                n_bytes=len(data) if n_bytes == "right" else n_bytes,
                licence="MIT",
                description="A tiny one.",
            )
            monkeypatch.setitem(pretrained.PRETRAINED, "gpt2", remote)
            return server

        yield publish


@pytest.mark.parametrize("known", [{}, {"sha256": None}, {"n_bytes": None}])
def test_downloaded_once(published, tmp_path, known):
    server = published(**known)
    assert_same(tiny(), from_pretrained("gpt2", drop_rate=0.0))
    assert from_pretrained("gpt2", drop_rate=0.0).config.drop_rate == 0.0
    assert server.requests == ["/gpt2"]
    assert (tmp_path / "cache" / "gpt2.safetensors").is_file()


def test_a_wrong_checksum_is_not_kept(published, tmp_path):
    published(sha256="0" * 64)
    with pytest.raises(DownloadError, match="other bytes: sha256 .*, expected 000000"):
        from_pretrained("gpt2")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("known", [{}, {"sha256": None}, {"sha256": None, "n_bytes": None}])
def test_a_download_cut_short_is_not_kept(published, tmp_path, known):
    published(kind="short", **known)
    with pytest.raises(DownloadError, match="cut short"):
        from_pretrained("gpt2")
    assert not list((tmp_path / "cache").iterdir())


def test_a_wrong_file_without_a_checksum_is_named_by_its_shapes(published, arrays):
    wrong = {**arrays, "transformer.wte.weight": np.ones((12, 8), np.float32)}
    published(sha256=None, n_bytes=None, sent=save(wrong))
    message = (
        r"gpt2\.safetensors is not.*(?s:.*)wte\.weight has shape \(12, 8\), expected \(11, 8\)"
    )
    with pytest.raises(ValueError, match=message):
        from_pretrained("gpt2")


def test_offline(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as error:
        from_pretrained("gpt2-medium", timeout=5)
    text = str(error.value)
    assert "it could not be downloaded" in text and "Without a network" in text
    assert str(tmp_path / "gpt2-medium.safetensors") in text and "1,519,984,962 bytes" in text


def test_a_wrong_file_in_the_cache_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "gpt2.safetensors").write_bytes(b"half of it")
    with pytest.raises(DownloadError, match="not the file it should be: it has 10 bytes"):
        from_pretrained("gpt2")
    assert (tmp_path / "gpt2.safetensors").read_bytes() == b"half of it"


def test_unknown_name():
    with pytest.raises(
        ValueError, match="no pretrained model is called 'gpt3'; there are gpt2, gpt2-m"
    ):
        from_pretrained("gpt3")


@pytest.mark.parametrize("name", list(pretrained.PRETRAINED))
def test_the_published_sizes_agree_with_the_configs(name):
    """Every file holds the weights and one causal mask a block, all float32, after its header."""
    kind = name.removeprefix("gpt2-") if "-" in name else "small"
    c = getattr(GPTConfig, f"gpt2_{kind}")()
    C, T = c.emb_dim, c.context_length
    numbers = (c.vocab_size + T) * C + 2 * C + c.n_layers * (12 * C * C + 13 * C + T * T)
    n_bytes = pretrained.PRETRAINED[name].n_bytes
    assert n_bytes is None or 10_000 < n_bytes - 4 * numbers < 60_000


def test_weights_as_a_mapping(arrays, tmp_path):
    weights = GPT2Weights(arrays)
    assert len(weights) == 28 and "wte.weight" in weights
    assert weights.fields() == {k: v for k, v in CONFIG.items() if k != "n_heads"}
    save_pretrained(tiny(), tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(arrays)
