"""Copies of tensors and modules: copy, deepcopy, and what other processes receive."""

import copy
import multiprocessing
import pickle
import threading

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn

real = pytest.importorskip("torch")
WAYS = {
    "deepcopy": copy.deepcopy,
    **{f"protocol {n}": lambda x, n=n: pickle.loads(pickle.dumps(x, n)) for n in range(2, 6)},
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()


@every_way
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_tensors(way, name, shape):
    x = torch.ones(shape).to(getattr(torch, name))
    y = way(x)
    assert type(y) is torch.Tensor and y.dtype == x.dtype and y.shape == x.shape
    assert y.array is not x.array and torch.equal(x, y) and not y.requires_grad


@every_way
def test_leaf_rule_and_gradient(way):
    x = torch.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    y = way(x)
    assert y.is_leaf and y.requires_grad
    if way is copy.deepcopy:
        assert y.grad.tolist() == [2.0] * 3 and y.grad is not x.grad
        with pytest.raises(RuntimeError, match="graph leaves"):
            way(x * 2)
        with pytest.raises(RuntimeError, match="graph leaves"):
            way({"a": [x.exp()]})
    else:
        assert y.grad is None  # as PyTorch: the gradient stays
        z = way(x * 2)
        assert z.is_leaf and z.requires_grad and z.tolist() == [2.0] * 3


@every_way
def test_layouts(way):
    base = torch.arange(24.0).reshape(2, 3, 4)
    for x in (
        base.transpose(0, 2),
        base[:, 1:, ::2],
        base[1],
        base.expand(2, 2, 3, 4),
        base.flip(0),
    ):
        y = way(x)
        assert torch.equal(x, y) and not np.shares_memory(x.array, y.array)
        assert y.stride() == x.stride()


@every_way
def test_shared_memory_stays_shared(way):
    base = torch.arange(12.0)
    first, second, rows = way([base, base[3:7], base.reshape(3, 4)])
    second.fill_(-1.0)
    expected = [0.0, 1.0, 2.0, -1.0, -1.0, -1.0, -1.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    assert first.tolist() == expected == rows.reshape(-1).tolist()
    assert base.tolist() == list(range(12))
    theirs = real.arange(12.0)
    a, b = copy.deepcopy([theirs, theirs[3:7]])
    b.fill_(-1.0)
    assert a.tolist() == expected  # PyTorch does the same


@every_way
def test_the_same_tensor_stays_one(way):
    x = torch.ones(2)
    a, b = way([x, x])
    assert a is b


@every_way
def test_arrays_of_other_owners(way):
    for array in (
        np.frombuffer(b"\0" * 16, np.float32),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.asfortranarray(np.ones((2, 3), np.float32))[:, 1],
        np.zeros(8, np.uint8).view(np.float32),
        np.broadcast_to(np.float32(3), (4,)),
    ):
        x = torch.from_numpy(array)
        assert torch.equal(x, way(x))


@every_way
def test_attributes_and_subclasses(way):
    p = nn.Parameter(torch.ones(2))
    p.note, p.friends = "mine", [torch.zeros(1)]
    q = way(p)
    assert type(q) is nn.Parameter and q.requires_grad and q.note == "mine"
    assert q.friends is not p.friends and q.friends[0].tolist() == [0.0]
    frozen = way(nn.Parameter(torch.ones(2), requires_grad=False))
    assert type(frozen) is nn.Parameter and not frozen.requires_grad
    assert copy.copy(p).note == "mine" and np.shares_memory(copy.copy(p).array, p.array)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("left_out", torch.zeros(2), persistent=False)

    def forward(self, ids):
        return self.head(self.body(self.embed(ids)))


@every_way
def test_modules(way):
    net = Net().eval()
    net.extra = {"words": ["a", 1]}
    twin = way(net)
    ids = torch.tensor([[1, 2, 4]])
    assert torch.equal(net(ids), twin(ids)) and not twin.training
    assert twin.head.weight is twin.embed.weight and twin.extra == net.extra
    assert list(twin.state_dict()) == list(net.state_dict())
    assert len(list(twin.parameters())) == len(list(net.parameters()))
    twin(ids).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    assert all(p.grad is not None for p in twin.parameters())


@every_way
def test_optimizers_and_their_parameters(way):
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    ids = torch.tensor([[1, 2, 4]])

    def step(net, optimizer):
        torch.manual_seed(2)
        net(ids).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(net, optimizer)
    twin, other = way((net, optimizer))
    assert {id(p) for g in other.param_groups for p in g["params"]} == set(
        map(id, twin.parameters())
    )
    step(net, optimizer)
    step(twin, other)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


@every_way
@pytest.mark.parametrize(
    "value",
    [torch.float32, torch.bool, torch.bfloat16, torch.Size([2, 3]), torch.device("cuda", 1)],
    ids=str,
)
def test_small_things(way, value):
    assert way(value) == value and type(way(value)) is type(value)


@every_way
def test_generators(way):
    g = torch.Generator().manual_seed(7)
    torch.randn(3, generator=g)
    twin = way(g)
    assert torch.equal(torch.randn(9, generator=twin), torch.randn(9, generator=g))


def test_the_default_generator_can_be_copied():
    torch.manual_seed(3)
    twin = copy.deepcopy(torch.default_generator)
    assert torch.equal(torch.rand(4, generator=twin), torch.rand(4))


def doubled(x):
    return x * 2


def loss_of(net, ids):
    """In another process: a step's gradients, as tensors."""
    net(ids).sum().backward()
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_worker_processes(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        x = torch.arange(6.0).reshape(2, 3).T
        assert torch.equal(pool.apply(doubled, (x,)), x * 2)
        net, ids = Net().eval(), torch.tensor([[1, 2, 4]])
        gradients = pool.apply(loss_of, (net, ids))
        net(ids).sum().backward()
        for name, p in net.named_parameters():
            np.testing.assert_allclose(p.grad.array, gradients[name].array, rtol=1e-5)


def test_what_cannot_be_sent_says_so():
    net = Net()
    net.lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        pickle.dumps(net)
