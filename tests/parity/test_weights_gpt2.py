"""Tiny random GPT-2s of transformers: the same logits and gradients, in both directions."""

from __future__ import annotations

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.models import build_gpt2, load_gpt2, save_pretrained  # noqa: E402
from tinygrad_llm.weights.families.gpt2 import to_huggingface  # noqa: E402

IDS = np.random.default_rng(3).integers(0, 29, (3, 9))


def theirs(seed=0, **changes):
    """A random GPT2LMHeadModel whose biases are not zero and whose norms are not one."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        **{
            **dict(vocab_size=29, n_positions=12, n_embd=24, n_head=3, n_layer=3),
            **dict(bos_token_id=28, eos_token_id=28),
            **changes,
        }
    )
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def numpy_state(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def loss_and_gradients(model):
    ids = torch.tensor(IDS)
    logits = model(ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    gradients = {n: p.grad.detach().numpy() for n, p in model.named_parameters()}
    return logits.detach().numpy(), loss.item(), gradients


def close(ours, other, name=""):
    np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_logits_and_gradients(tmp_path, tied, safe):
    model = theirs(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    if not safe:
        (tmp_path / "model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    ours = load_gpt2(tmp_path)
    assert ours.config.tie_weights is tied
    logits, loss, gradients = loss_and_gradients(model)
    ids = tg.tensor(IDS)
    close(ours(ids[:, :-1]).detach().numpy(), logits)
    our_loss = ours.loss(ids[:, :-1], ids[:, 1:])
    close(our_loss.item(), loss)
    our_loss.backward()
    # A gradient has the layout of its weight and is converted in the same way.
    grads = {name: p.grad for name, p in ours.named_parameters()}
    renamed = to_huggingface(grads, tied=tied)
    assert renamed.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 1e-4, name
        close(renamed[name], gradient, name)


def test_with_attention_heads_of_every_size(tmp_path):
    for n_head in (1, 2, 4, 12):
        model = theirs(n_head=n_head)
        ours = build_gpt2(numpy_state(model), n_heads=n_head)
        with torch.no_grad():
            close(
                ours(tg.tensor(IDS)).detach().numpy(),
                model(torch.tensor(IDS)).logits.detach().numpy(),
            )


def test_the_base_model_without_prefix(tmp_path):
    model = theirs()
    model.transformer.save_pretrained(tmp_path)
    with torch.no_grad():
        close(
            load_gpt2(tmp_path)(tg.tensor(IDS)).detach().numpy(),
            model(torch.tensor(IDS)).logits.detach().numpy(),
        )


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_what_is_written_here(tmp_path, tied):
    tg.manual_seed(2)
    ours = tg.models.GPT(
        tg.models.GPTConfig(29, 12, 24, 3, 2, drop_rate=0.0, tie_weights=tied)
    ).eval()
    save_pretrained(ours, tmp_path)
    back, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert (back.lm_head.weight is back.transformer.wte.weight) is tied
    with torch.no_grad():
        close(
            ours(tg.tensor(IDS)).detach().numpy(),
            back.eval()(torch.tensor(IDS)).logits.detach().numpy(),
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files(tmp_path, dtype):
    model = theirs().to(dtype)
    model.save_pretrained(tmp_path)
    model = model.float()
    with torch.no_grad():
        close(
            load_gpt2(tmp_path)(tg.tensor(IDS)).detach().numpy(),
            model(torch.tensor(IDS)).logits.detach().numpy(),
        )


def test_generation_agrees(tmp_path):
    """Greedy decoding with a KV cache on both sides."""
    from tinygrad_llm.generation import generate

    model = theirs(seed=4, n_positions=40)
    model.save_pretrained(tmp_path)
    start = torch.tensor(IDS[:, :4])
    expected = model.generate(
        start, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    ids = generate(load_gpt2(tmp_path), tg.tensor(start.detach().numpy()), 20, temperature=0.0)
    assert ids.tolist() == expected.tolist()
