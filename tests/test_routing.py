"""Who goes where in a mixture of experts: dense equality, capacity, groups, shared experts."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.layers.feed_forward import GatedFeedForward
from tinygrad_llm.layers.moe import (
    MixtureOfExperts,
    collected_router_logits,
    load_balancing_loss,
    router_z_loss,
)
from tinygrad_llm.layers.routing import outside_groups, within_capacity

C, E, K = 6, 8, 3


def shared():
    return GatedFeedForward(C, 4)


OPTIONS = {
    "plain": {},
    "not divided": {"norm_topk_prob": False, "scale": 1.7},
    "after the choice": {"softmax_first": False},
    "sigmoid": {"sigmoid": True, "scale": 2.5},
    "groups": {"sigmoid": True, "groups": (4, 2), "norm_topk_prob": False},
    "shared": {"shared": shared, "shared_gate": True},
    "as DeepSeek": {"sigmoid": True, "groups": (2, 1), "scale": 2.5, "shared": shared},
    "capacity": {"capacity_factor": 0.6},
    "small capacity": {"capacity_factor": 0.1, "sigmoid": True, "shared": shared},
}
every_kind = pytest.mark.parametrize("kind", OPTIONS)


def made(kind, dtype=torch.float64):
    torch.manual_seed(0)
    options = dict(OPTIONS[kind])
    if "shared" in options:
        options["shared"] = options["shared"]()
    layer = MixtureOfExperts(C, 5, E, K, **options)
    for p in layer.parameters():
        p.data = torch.randn(p.shape) * 0.6
    if layer.sigmoid:
        layer.correction = 0.4 * torch.randn(E)
    return layer.to(dtype)


def dense(layer, x):
    """Every expert for every token, with the weight 0 where the router chose another or no room."""
    rows = x.reshape(-1, C)
    weights, chosen = layer.routed(layer.router(rows))
    if layer.capacity_factor is not None and layer.training:
        capacity = int(np.ceil(layer.capacity_factor * K * len(rows) / E))
        weights = weights * within_capacity_slowly(chosen.numpy(), capacity)
    table = torch.zeros(len(rows), E, dtype=x.dtype).scatter(1, chosen, weights)  # (N, E)
    gate_up, down = layer.experts.gate_up, layer.experts.down
    both = torch.einsum("nc,efc->nef", rows, gate_up)
    hidden = torch.nn.functional.silu(both[..., :5]) * both[..., 5:]
    y = (torch.einsum("nef,ecf->nec", hidden, down) * table.unsqueeze(-1)).sum(1)
    if layer.shared is not None:
        common = layer.shared(rows)
        if layer.shared_gate is not None:
            common = torch.sigmoid(layer.shared_gate(rows)) * common
        y = y + common
    return y.view(x.shape)


def within_capacity_slowly(chosen, capacity):
    room, kept = [capacity] * E, np.zeros(chosen.shape)
    for j in range(chosen.shape[1]):
        for n in range(chosen.shape[0]):
            if room[chosen[n, j]]:
                room[chosen[n, j]] -= 1
                kept[n, j] = 1.0
    return torch.from_numpy(kept)


def same(a, b, tolerance=1e-12):
    a, b = (np.asarray(getattr(x, "array", x), dtype=np.float64) for x in (a, b))
    bound = tolerance * np.abs(b).max(initial=1e-30)
    np.testing.assert_allclose(a, b, rtol=0, atol=bound)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_to_every_expert_with_zero_weights(kind, dtype):
    """Values and all gradients, the router's too; the dense one in float64."""
    rng = np.random.default_rng(0)
    x, upstream = rng.standard_normal((2, 2, 7, C))
    results = []
    for run, kept in ((dense, torch.float64), (lambda m, x: m(x), dtype)):
        layer = made(kind, kept)
        row = torch.from_numpy(x).to(kept).requires_grad_()
        y = run(layer, row)
        y.backward(torch.from_numpy(upstream).to(kept))
        results.append([y, row.grad, *(p.grad for p in layer.parameters())])
    for got, expected in zip(results[1], results[0], strict=True):
        assert got.dtype is dtype
        same(got.detach(), expected.detach(), 1e-5 if dtype is torch.float32 else 1e-12)
    assert layer.router.weight.grad.abs().sum().item() > 0


@every_kind
def test_gradients_by_finite_differences(kind):
    """Through the router too: near these numbers nobody chooses otherwise."""
    layer, x = made(kind), torch.from_numpy(np.random.default_rng(0).standard_normal((1, 5, C)))
    parameters = dict(layer.named_parameters())
    assert gradcheck(lambda x: layer(x), x.requires_grad_(), directions=2, parameters=parameters)


@every_kind
def test_the_same_on_every_device(kind, other_device):
    x, upstream = np.random.default_rng(0).standard_normal((2, 2, 7, C))
    results = []
    for where in ("cpu", other_device):
        layer = made(kind).to(where)
        row = torch.from_numpy(x).to(where).requires_grad_()
        with collected_router_logits() as logits:
            y = layer(row)
        loss = load_balancing_loss(logits, K) + router_z_loss(logits)
        ((y * torch.from_numpy(upstream).to(where)).sum() + loss).backward()
        if layer.sigmoid:
            layer.balance(0.1)
        state = [v.detach().cpu() for v in layer.state_dict().values()]
        grads = [p.grad.cpu() for p in layer.parameters()]
        dropped = layer.tokens_dropped
        results.append([y.detach().cpu(), row.grad.cpu(), *grads, *state, [float(dropped)]])
    for got, expected in zip(results[1], results[0], strict=True):
        same(got, expected)


# -------------------------------------------------------------------------------------- capacity
def test_an_expert_takes_first_choices_and_earlier_tokens_first():
    chosen = np.array([[0, 1], [0, 2], [1, 0], [0, 1]])
    kept = within_capacity(chosen, 3, 2)
    assert kept.tolist() == [[True, True], [True, True], [True, False], [False, False]]
    rng = np.random.default_rng(0)
    for capacity in (1, 2, 5, 100):
        chosen = np.stack([rng.permutation(E)[:K] for _ in range(20)])
        expected = within_capacity_slowly(chosen, capacity).numpy() > 0
        assert (within_capacity(chosen, E, capacity) == expected).all()
        assert np.bincount(chosen[expected], minlength=E).max() <= capacity


def test_tokens_without_room_are_counted_and_evaluation_drops_none():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 20, C)))
    free, tight = made("plain"), made("capacity")
    tight.load_state_dict(free.state_dict())
    expected = free(x)
    y = tight(x)
    room = int(np.ceil(0.6 * K * 40 / E))
    counts = tight.tokens_per_expert
    assert int(tight.tokens_dropped) == np.maximum(counts - room, 0).sum() > 0
    assert counts.sum() == 40 * K and (counts == free.tokens_per_expert).all()
    changed = (y - expected).abs().sum(-1) > 1e-9
    assert 0 < changed.sum().item() <= int(tight.tokens_dropped)
    same(tight.eval()(x).detach(), expected.detach(), 0.0)
    roomy = made("capacity")
    roomy.load_state_dict(free.state_dict())
    roomy.capacity_factor = E / K
    same(roomy(x).detach(), expected.detach(), 0.0)
    assert int(roomy.tokens_dropped) == 0


def test_all_tokens_may_be_dropped():
    layer = MixtureOfExperts(C, 5, E, 1, capacity_factor=1e-9)
    layer.router.weight.data = torch.zeros(E, C)
    layer.router.weight.data[2] = 1.0
    x = torch.rand(9, C)
    y = layer(x)
    assert int(layer.tokens_dropped) == 8 and (y.abs().sum(-1) > 0).sum().item() == 1


# ---------------------------------------------------------------------------------------- groups
def test_groups_by_the_sum_of_their_best_two():
    scores = torch.tensor([[5.0, -9.0, 2.0, 2.5, 3.0, 1.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.5]])
    assert outside_groups(scores, 3, 1).tolist() == [
        [True, True, False, False, True, True], [True, True, False, False, True, True]
    ]  # fmt: skip
    assert outside_groups(scores, 3, 2).tolist()[0] == [True, True, False, False, False, False]
    assert not outside_groups(scores, 3, 3).any().item()


def test_the_correction_chooses_and_does_not_weigh():
    layer = made("sigmoid")
    layer.scale, x = 1.0, torch.rand(5, C).double()
    layer.correction = torch.zeros(E).double()
    layer.correction[6] = 100.0
    logits = layer.router(x)
    weights, chosen = layer.routed(logits)
    assert (chosen == 6).any(-1).all().item()
    same(weights.sum(-1).detach(), np.ones(5))
    p = torch.sigmoid(logits).gather(1, chosen)
    same(weights.detach(), (p / p.sum(-1, keepdim=True)).detach())
    assert "correction" in layer.state_dict() and "correction" not in dict(layer.named_parameters())


def test_balance_without_a_loss():
    """With all tokens alike, the correction ends with nearly equal shares over many steps."""
    torch.manual_seed(0)
    layer = MixtureOfExperts(C, 5, 4, 1, sigmoid=True)
    x, total, n = torch.randn(64, C), np.zeros(4), 0
    for step in range(400):
        layer(x)
        layer.balance(0.01)
        if step >= 300:
            total, n = total + layer.tokens_per_expert, n + 1
    assert np.abs(total / n - 16).max() < 2
    with pytest.raises(RuntimeError, match="needs sigmoid=True"):
        MixtureOfExperts(C, 5, 4, 1).balance()


# ---------------------------------------------------------------------------------------- losses
def test_the_z_loss_is_the_mean_square_of_logsumexp():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, E)), 3.0 * rng.standard_normal((7, E))
    each = [np.log(np.exp(x).sum(-1)) ** 2 for x in (a, b)]
    expected = np.concatenate(each).mean()
    tensors = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
    loss = router_z_loss(tensors)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert gradcheck(lambda x, y: router_z_loss([x, y]), *tensors)
    mask = torch.tensor([True, False, True, True, False])
    kept = each[0][mask.numpy()].mean()
    assert router_z_loss(tensors[:1], mask).item() == pytest.approx(kept, rel=1e-12)
    assert router_z_loss([torch.zeros(2, 3, dtype=torch.bfloat16)]).dtype is torch.float32
    with pytest.raises(ValueError, match="at least one layer"):
        router_z_loss([])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": (2, 1)}, "groups need sigmoid=True"),
        ({"sigmoid": True, "groups": (3, 1)}, r"equal parts of the 8 experts.*got \(3, 1\)"),
        ({"sigmoid": True, "groups": (8, 8)}, "of two at least"),
        ({"sigmoid": True, "groups": (4, 1)}, "of which m hold 3 experts or more"),
        ({"capacity_factor": 0.0}, "capacity_factor must be positive, got 0.0"),
        ({"shared_gate": True}, "shared_gate needs a shared module"),
    ],
)
def test_arguments_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        MixtureOfExperts(C, 5, E, K, **options)


def test_what_it_is_is_shown():
    text = repr(made("as DeepSeek"))
    for part in ("sigmoid=True, groups=(2, 1), scale=2.5", "(shared): GatedFeedForward"):
        assert part in text
    assert "sigmoid" not in repr(MixtureOfExperts(C, 5, E, K))
