"""A GPT written in PyTorch's style, run under both libraries, and ours against it.

The program (programs/gpt_model.py) uses plain `torch.` names. It is run twice, once with PyTorch
and once with this package in its place, from the same seed: every weight, loss and gradient, and
the tokens drawn, must agree.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.generation import generate  # noqa: E402
from tinygrad_llm.models import GPT, GPTConfig  # noqa: E402

from .chapter5 import program, with_our_import  # noqa: E402


def book_model(lib):
    """The model and the sampling loop of programs/gpt_model.py, with the library given."""
    source = program("gpt_model")
    scope = {"__name__": "gpt_model"}
    exec(compile(source if lib is torch else with_our_import(source), lib.__name__, "exec"), scope)
    return scope["GPTModel"], scope["generate"]


CONFIG = {
    "vocab_size": 61, "context_length": 16, "emb_dim": 24, "n_heads": 3, "n_layers": 2,
    "drop_rate": 0.1, "qkv_bias": False,
}  # fmt: skip


def batch(lib, seed=0, rows=4):
    ids = np.random.default_rng(seed).integers(0, 61, (rows, 17))
    return lib.from_numpy(ids[:, :-1].copy()), lib.from_numpy(ids[:, 1:].copy())


def close(ours, theirs, rtol=2e-5, atol=2e-6, name=""):
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype)
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=rtol, atol=atol, err_msg=name
    )


def test_the_same_program_trains_the_same():
    """Thirty steps with dropout, warm-up, a cosine, clipping and AdamW from one seed."""
    runs = []
    for lib in (tg, torch):
        Model, sample = book_model(lib)
        lib.manual_seed(123)
        model = Model(CONFIG)
        first = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = lib.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)
        schedule = lib.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                lib.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5),
                lib.optim.lr_scheduler.CosineAnnealingLR(optimizer, 25),
            ],
            [5],
        )
        losses, norms, grads = [], [], {}
        for step in range(30):
            x, y = batch(lib, step % 3)
            optimizer.zero_grad()
            logits = model(x)
            loss = lib.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
            loss.backward()
            if step == 0:
                grads = {n: p.grad.clone() for n, p in model.named_parameters()}
            norms.append(lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        lib.manual_seed(1)
        x, _ = batch(lib, 9, 1)
        drawn = [
            sample(model, x[:, :3], 20, 16).tolist(),
            sample(model, x[:, :3], 20, 16, temperature=1.4, top_k=25).tolist(),
            sample(model, x[:, :3], 20, 16, temperature=0.7).tolist(),
        ]
        runs.append((first, grads, losses, norms, dict(model.named_parameters()), drawn))
    ours, theirs = runs
    assert list(ours[0]) == list(theirs[0])
    for name in ours[0]:
        np.testing.assert_array_max_ulp(ours[0][name].numpy(), theirs[0][name].numpy(), 1)
        close(ours[1][name], theirs[1][name], 1e-4, 2e-6, name)
        close(ours[4][name], theirs[4][name], 1e-3, 1e-4, name)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=2e-5)
    np.testing.assert_allclose(ours[3], theirs[3], rtol=2e-4)
    assert ours[2][-1] < 0.9 * ours[2][0]
    assert ours[5] == theirs[5]


def ported(ours, theirs):
    """Our GPT's weights in the program's model: q, k and v apart, norms under other names."""
    state = {}
    for name, tensor in ours.state_dict().items():
        array = torch.from_numpy(tensor.numpy().copy())
        if "qkv" in name:
            kind = name.rpartition(".")[2]
            for part, piece in zip(("query", "key", "value"), array.chunk(3), strict=True):
                state[name.replace(f"qkv.{kind}", f"W_{part}.{kind}")] = piece
        else:
            if "norm" in name:
                name = name.replace("weight", "scale").replace("bias", "shift")
            state[name] = array
    theirs.load_state_dict(state, strict=False)
    return theirs


@pytest.mark.parametrize(("tie", "bias"), [(False, False), (True, True)])
def test_our_gpt_against_the_program_in_pytorch(tie, bias):
    Model, sample = book_model(torch)
    config = {**CONFIG, "drop_rate": 0.0, "qkv_bias": bias}
    tg.manual_seed(0)
    ours = GPT(GPTConfig(**config, tie_weights=tie))
    for i, p in enumerate(ours.parameters()):  # nothing small, nothing zero
        p.array[...] += 0.1 * np.random.default_rng(i).standard_normal(p.array.shape)
    theirs = ported(ours, Model(config))
    if tie:
        theirs.out_head.weight = theirs.tok_emb.weight
    x, y = batch(tg)
    tx, ty = batch(torch)
    logits = theirs(tx)
    close(ours(x), logits, 1e-4, 2e-5)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ty.flatten())
    loss.backward()
    ours_loss = ours.loss(x, y)
    ours_loss.backward()
    assert ours_loss.item() == pytest.approx(loss.item(), rel=1e-5)
    grads = {n: p.grad for n, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        g = p.grad.numpy()
        if "qkv" in name:
            kind = name.rpartition(".")[2]
            for part, piece in zip(("query", "key", "value"), np.split(g, 3), strict=True):
                expected = grads[name.replace(f"qkv.{kind}", f"W_{part}.{kind}")].numpy()
                np.testing.assert_allclose(piece, expected, rtol=1e-3, atol=2e-6, err_msg=name)
            continue
        if "norm" in name:
            name = name.replace("weight", "scale").replace("bias", "shift")
        np.testing.assert_allclose(g, grads[name].numpy(), rtol=1e-3, atol=2e-6, err_msg=name)

    # the tokens drawn: greedy, and with the stream of torch.multinomial, with and without cache
    start = tx[:1, :4]
    for options in ({}, {"temperature": 1.2}, {"temperature": 0.8, "top_k": 10}):
        torch.manual_seed(5)
        expected = sample(theirs, start, 25, 16, **options).tolist()
        for cache in (True, False):
            got = generate(ours, x[:1, :4], 25, seed=5, use_cache=cache, **options)
            assert got.tolist() == expected, (options, cache)
    torch.manual_seed(5)
    stop = sample(theirs, start, 25, 16)[0, 12].item()
    expected = sample(theirs, start, 25, 16, eos_id=stop).tolist()
    assert generate(ours, x[:1, :4], 25, stop_tokens=stop).tolist() == expected


def test_our_initial_weights_have_pytorchs_numbers():
    """The same layers and the same draws in PyTorch give the same weights."""
    config = {**CONFIG, "n_layers": 1}
    tg.manual_seed(11)
    ours = GPT(config)
    torch.manual_seed(11)
    nn, C, V = torch.nn, 24, 61
    layers = {
        "tok_emb": nn.Embedding(V, C),
        "pos_emb": nn.Embedding(16, C),
        "trf_blocks.0.norm1": nn.LayerNorm(C),
        "trf_blocks.0.att.qkv": nn.Linear(C, 3 * C, bias=False),
        "trf_blocks.0.att.out_proj": nn.Linear(C, C),
        "trf_blocks.0.norm2": nn.LayerNorm(C),
        "trf_blocks.0.ff.layers.0": nn.Linear(C, 4 * C),
        "trf_blocks.0.ff.layers.2": nn.Linear(4 * C, C),
        "final_norm": nn.LayerNorm(C),
        "out_head": nn.Linear(C, V, bias=False),
    }
    del layers["out_head"]  # tied
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear | nn.Embedding):
            residual = name.endswith(("out_proj", "layers.2"))
            nn.init.normal_(layer.weight, 0.0, 0.02 / (math.sqrt(2) if residual else 1))
        expected = {n: p for n, p in layer.named_parameters()}
        for n, p in expected.items():
            if n == "bias":
                nn.init.zeros_(p)
            got = ours.get_parameter(f"{name}.{n}")
            np.testing.assert_array_max_ulp(got.detach().numpy(), p.detach().numpy(), 1)
