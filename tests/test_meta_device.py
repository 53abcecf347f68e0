"""The meta device and devices as blocks: shapes without numbers, and where new tensors are made."""

from __future__ import annotations

import copy
import gc
import threading
import tracemalloc
import warnings

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.models import GPT, GPTConfig

F = nn.functional
META = torch.device("meta")


def shape_only(x):
    return x.is_meta and x.device == META and x.device.type == "meta"


# -------------------------------------------------------------------------------- made on meta
FACTORIES = {
    "zeros": lambda **k: torch.zeros(2, 3, **k),
    "ones": lambda **k: torch.ones((2, 3), **k),
    "empty": lambda **k: torch.empty(2, 3, dtype=torch.float64, **k),
    "full": lambda **k: torch.full((2, 3), 7, **k),
    "eye": lambda **k: torch.eye(3, **k),
    "arange": lambda **k: torch.arange(5, **k),
    "arange of floats": lambda **k: torch.arange(0.0, 1.0, 0.25, **k),
    "linspace": lambda **k: torch.linspace(0, 1, 4, **k),
    "tensor": lambda **k: torch.tensor([[1, 2], [3, 4]], **k),
    "as_tensor": lambda **k: torch.as_tensor([1.0, 2.0], **k),
    "rand": lambda **k: torch.rand(2, 3, **k),
    "randn": lambda **k: torch.randn(2, 3, **k),
    "randint": lambda **k: torch.randint(0, 5, (2, 3), **k),
    "randperm": lambda **k: torch.randperm(5, **k),
    "normal": lambda **k: torch.normal(0.0, 1.0, (2, 3), **k),
    "tril_indices": lambda **k: torch.tril_indices(3, 3, **k),
    "scalar_tensor": lambda **k: torch.scalar_tensor(2.0, **k),
    "asarray": lambda **k: torch.asarray([1, 2], **k),
}


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_factories_on_meta(name):
    make = FACTORIES[name]
    torch.manual_seed(3)
    there = make()
    torch.manual_seed(3)
    x = make(device="meta")
    with META:
        y = make()
        z = make(device="cpu")
    assert shape_only(x) and shape_only(y) and x.shape == y.shape == there.shape
    assert x.dtype == y.dtype == there.dtype and z.device.type == "cpu"
    assert make().device.type == "cpu"


def test_nothing_is_drawn_for_meta():
    torch.manual_seed(0)
    a = torch.rand(3)
    torch.manual_seed(0)
    torch.randn(100, device="meta")
    nn.Linear(3, 4, device="meta")
    torch.empty(4, device="meta").normal_()
    assert torch.rand(3).tolist() == a.tolist()


def test_like_another_tensor():
    x, m = torch.ones(2, 3), torch.ones(2, 3, device="meta")
    for like in (torch.zeros_like, torch.ones_like, torch.empty_like, torch.rand_like):
        assert shape_only(like(m)) and shape_only(like(x, device="meta"))
        assert like(m, device="cpu").device.type == "cpu"
    with META:
        assert torch.zeros_like(x).device.type == "cpu" and x.new_zeros(2).device.type == "cpu"
    assert shape_only(m.new_ones(4)) and shape_only(torch.full_like(m, 3.0))


# ---------------------------------------------------------------------------------- ops on meta
def _ops():
    ids = torch.randint(0, 4, (2, 3))
    x, w, b = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)
    q = torch.randn(1, 2, 3, 4)
    yield "add", (x, x), lambda x, y: x + y
    yield "number", (x,), lambda x: (2 * x - 1) / 3
    yield "broadcast", (x, torch.randn(4)), lambda x, y: x * y
    yield "0-d", (x,), lambda x: x * torch.tensor(2.0)
    yield "matmul", (x, torch.randn(4, 6)), lambda x, y: x @ y
    yield "vectors", (torch.randn(4), torch.randn(4)), lambda x, y: x @ y
    yield "batched", (q, q), lambda x, y: x @ y.transpose(-1, -2)
    yield "linear", (x, w, b), F.linear
    yield "layer norm", (x, torch.randn(4)), lambda x, w: F.layer_norm(x, (4,), w)
    yield "softmax", (x,), lambda x: x.softmax(-1)
    yield "gelu", (x,), F.gelu
    yield "relu", (x,), torch.relu
    yield "sum", (x,), lambda x: x.sum(1, keepdim=True)
    yield "sum of all", (x,), lambda x: x.sum()
    yield "mean", (x,), lambda x: x.mean((0, 2))
    yield "max", (x,), lambda x: x.max(-1)
    yield "argmax", (x,), lambda x: x.argmax(-1)
    yield "sort", (x,), lambda x: x.sort()
    yield "topk", (x,), lambda x: x.topk(2)
    yield "compare", (x, x), lambda x, y: x < y
    yield "where", (x, x), lambda x, y: torch.where(x > 0, x, y)
    yield "masked fill", (x,), lambda x: x.masked_fill(x > 0, -1.0)
    yield "reshape", (x,), lambda x: x.reshape(6, 4).view(-1)
    yield "permute", (x,), lambda x: x.permute(2, 0, 1).contiguous().view(4, 6)
    yield "index", (x,), lambda x: x[:, -1, ::2]
    yield "ids", (x, torch.randint(0, 2, (5,))), lambda x, i: x[i]
    yield "cat", (x, x), lambda x, y: torch.cat([x, y], 1)
    yield "stack", (x, x), lambda x, y: torch.stack([x, y])
    yield "split", (x,), lambda x: x.split([1, 3], -1)
    yield "chunk", (x,), lambda x: x.chunk(2, -1)
    yield "embedding", (ids, torch.randn(4, 7)), F.embedding
    yield "cross entropy", (x.view(6, 4), ids.view(6)), F.cross_entropy
    yield "attention", (q, q, q), lambda q, k, v: F.scaled_dot_product_attention(q, k, v)
    yield "cast", (x,), lambda x: x.to(torch.float64).half()
    yield "integers", (ids,), lambda i: i + 1
    yield "cumsum", (x,), lambda x: x.cumsum(1)
    yield "tril", (x,), torch.tril
    yield "outer", (torch.randn(3), torch.randn(4)), torch.outer
    yield "einsum", (x, w), lambda x, w: torch.einsum("btc,oc->bto", x, w)
    yield "gather", (x, torch.zeros(2, 3, 1, dtype=torch.long)), lambda x, i: x.gather(2, i)
    yield "repeat", (x,), lambda x: x.repeat_interleave(2, 1).repeat(1, 1, 2)
    yield "std", (x,), lambda x: x.std(-1)
    yield "clamp", (x,), lambda x: x.clamp(min=0).sqrt()
    yield "logsumexp", (x,), lambda x: x.logsumexp(-1)
    yield "in place", (x.clone(),), lambda x: x.add_(1).mul_(2).zero_()
    yield "dropout", (x,), lambda x: F.dropout(x, 0.0)


OPS = list(_ops())


@pytest.mark.parametrize("arrays,f", [o[1:] for o in OPS], ids=[o[0] for o in OPS])
def test_shapes_of_ops(arrays, f):
    on_meta = f(*[a.to("meta") for a in arrays])
    expected = f(*arrays)
    if isinstance(expected, torch.Tensor):
        on_meta, expected = (on_meta,), (expected,)
    for m, y in zip(on_meta, expected, strict=True):
        assert shape_only(m) and m.shape == y.shape and m.dtype == y.dtype
        assert m.numel() == y.numel() and m.dim() == y.dim() and m.nbytes == y.nbytes


def test_devices_do_not_mix():
    m = torch.ones(2, 3, device="meta")
    for f in (lambda: m + torch.ones(3), lambda: torch.ones(4, 2) @ m, lambda: torch.cat(
        [m, torch.ones(2, 3)])):  # fmt: skip
        with pytest.raises(RuntimeError, match="same device.*meta"):
            f()
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor; no data!"):
        torch.ones(2, 3).copy_(m)
    assert shape_only(m.copy_(torch.ones(2, 3)))


READ = [
    (RuntimeError, lambda m: m[0, 0].item()),
    (RuntimeError, lambda m: float(m.sum())),
    (RuntimeError, lambda m: int(m.sum())),
    (RuntimeError, lambda m: bool(m.sum() > 0)),
    (RuntimeError, lambda m: 1 if m.max() else 0),
    (NotImplementedError, lambda m: m.tolist()),
    (TypeError, lambda m: m.numpy()),
    (NotImplementedError, lambda m: m.cpu()),
    (NotImplementedError, lambda m: m.to("cpu")),
    (NotImplementedError, lambda m: m.numpy(force=True)),
    (NotImplementedError, lambda m: m.nonzero()),
    (NotImplementedError, lambda m: torch.unique(m)),
    (NotImplementedError, lambda m: m.requires_grad_().sum().backward()),
    (RuntimeError, lambda m: torch.allclose(m, m)),
    (NotImplementedError, lambda m: torch.save(m, "never written")),
]


@pytest.mark.parametrize("error,read", READ)
def test_reading_numbers_is_an_error(error, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        read(torch.ones(2, 3, device="meta"))


def test_how_meta_tensors_print():
    m = torch.ones(2, 3, device="meta")
    assert repr(m) == "tensor(..., device='meta', size=(2, 3))"
    assert repr(m.long()) == "tensor(..., device='meta', size=(2, 3), dtype=torch.int64)"
    assert repr(torch.ones((), device="meta")) == "tensor(..., device='meta', size=())"
    assert m.stride() == (3, 1) and m.is_contiguous() and m.data_ptr() == 0 and not m.is_cpu
    assert torch.ones((), device="meta").stride() == () and m.untyped_storage().nbytes() == 24
    assert copy.deepcopy(m).is_meta and m.clone().is_meta and m.detach().is_meta


# -------------------------------------------------------------------------------- modules on meta
def test_a_big_model_needs_no_memory():
    def build(V):
        return nn.Sequential(nn.Embedding(V, 4096), nn.Linear(4096, V), nn.LayerNorm(10))

    with META:
        build(2)  # what is imported, filled or kept the first time is not the model's
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        net = build(100_000)
        used = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
    assert used < 1e6 and sum(p.numel() for p in net.parameters()) > 8e8
    assert all(shape_only(p) for p in net.parameters())


def small():
    return GPTConfig(vocab_size=11, context_length=8, emb_dim=16, n_heads=2, n_layers=2)


def test_a_model_is_built_on_meta_and_loaded():
    torch.manual_seed(1)
    model = GPT(small()).eval()
    with META:
        other = GPT(small()).eval()
    assert all(p.is_meta for p in other.parameters())
    ids = torch.arange(6)[None]
    assert other(ids.to("meta")).shape == (1, 6, 11)
    other.load_state_dict(model.state_dict(), assign=True)
    left = [name for name, b in other.named_buffers() if b.is_meta]
    if not left:
        assert (other(ids) == model(ids)).all()
    third = GPT(small()).to("meta").to_empty(device="cpu").eval()
    third.load_state_dict(model.state_dict())
    if not left:
        assert torch.allclose(third(ids), model(ids))


def test_modules_leave_meta_by_to_empty_only():
    net = nn.Linear(2, 3, device="meta")
    with pytest.raises(NotImplementedError, match="to_empty"):
        net.to("cpu")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.load_state_dict({"weight": torch.ones(3, 2), "bias": torch.ones(3)})
    assert len(caught) == 2 and "which is a no-op" in str(caught[0].message)
    assert net.weight.is_meta
    assert net.to_empty(device="cpu") is net and net.weight.device.type == "cpu"
    assert net.weight.requires_grad and isinstance(net.weight, nn.Parameter)
    net.load_state_dict({"weight": torch.ones(3, 2), "bias": torch.zeros(3)})
    assert net(torch.ones(1, 2)).tolist() == [[2.0, 2.0, 2.0]]


# ------------------------------------------------------------------------------ default devices
def test_blocks_can_be_nested():
    cpu = torch.device("cpu")
    with META:
        assert torch.get_default_device() == META
        with cpu:
            assert torch.ones(1).device == cpu and torch.get_default_device() == cpu
            with META, META:
                assert shape_only(torch.ones(1))
        assert shape_only(torch.ones(1))
    assert torch.ones(1).device == cpu
    with pytest.raises(ZeroDivisionError), META:
        raise ZeroDivisionError
    assert torch.get_default_device() == cpu


def test_set_default_device():
    torch.set_default_device("meta")
    try:
        assert shape_only(torch.zeros(2)) and torch.get_default_device() == META
        assert nn.Linear(2, 2).weight.is_meta
        with torch.device("cpu"):
            assert torch.zeros(2).tolist() == [0.0, 0.0]
        other = []
        thread = threading.Thread(target=lambda: other.append(torch.ones(1).device.type))
        thread.start()
        thread.join()
        assert other == ["cpu"]  # each thread has its own, as in PyTorch
    finally:
        torch.set_default_device(None)
    assert torch.get_default_device() == torch.device("cpu") and torch.ones(1).is_cpu
    with pytest.raises(RuntimeError, match="device type"):
        torch.set_default_device("tpu")


def test_names_of_devices():
    assert (
        str(META) == "meta" and repr(META) == "device(type='meta')" and torch.device(META) == META
    )
    assert repr(torch.device("meta", 0)) == "device(type='meta', index=0)" and META.index is None
    for wrong in ("metal", "meta:x", "Meta", ""):
        with pytest.raises(RuntimeError, match="cpu, cuda, meta device type"):
            torch.device(wrong)
