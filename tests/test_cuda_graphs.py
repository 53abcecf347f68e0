"""CUDA graphs: a replay is a step like any other, and what can't be captured says so.

What needs a GPU is skipped without one (tests/gpu.md says how it is run); what is refused while a
graph is captured is tried on the stand-in as well.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from conftest import real_gpu
from test_training import small_gpt, trainer

import tinygrad_llm as torch
from tinygrad_llm import cuda, nn, optim
from tinygrad_llm.arrays import capture, devices
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.nn import functional as F
from tinygrad_llm.training import NonFiniteError
from tinygrad_llm.training.graphed_step import graphable, obstacle
from tinygrad_llm.training.step import model_loss

gpu = pytest.mark.skipif(not real_gpu(), reason="needs CuPy and a GPU")
TOKENS = np.random.default_rng(0).integers(0, 65, (16, 4, 33)) % 9


# ------------------------------------------------------------------------------- without a GPU
def test_a_trainer_says_what_it_needs():
    with pytest.raises(ValueError, match="graph=True needs accumulation=1, got 2"):
        trainer(steps=2, graph=True, accumulation=2)
    with pytest.raises(RuntimeError, match="graph=True needs the model on a GPU"):
        trainer(steps=2, graph=True).run(plan=False)


def test_on_the_cpu_the_step_is_called_as_it_is():
    step = cuda.graphed(lambda x: x * 2, device="cpu")
    assert [step(torch.ones(2)).tolist() for _ in range(6)] == [[2.0, 2.0]] * 6


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="warmup must be at least 1, got 0"):
        cuda.graphed(lambda: None, warmup=0)
    with pytest.raises(TypeError, match="argument 1 is float: a number would be the same"):
        cuda.graphed(lambda x, lr: x)(torch.ones(1), 0.1)
    with pytest.raises(RuntimeError, match="empty: capture"):
        cuda.CUDAGraph().replay()
    with pytest.raises(RuntimeError, match="without capture_begin"):
        cuda.CUDAGraph().capture_end()
    assert not cuda.is_current_stream_capturing()


def test_without_the_kernels_it_is_one_clear_line(device, monkeypatch):
    if device == "cuda":
        devices.cupy()  # the kernels are there from here on, if they ever will
    monkeypatch.setattr(twins, "gpu", None)
    if device == "cpu":
        monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(RuntimeError, match="CuPy") as error, cuda.graph(cuda.CUDAGraph()):
        pass
    assert "\n" not in str(error.value)


def test_an_update_parameter_by_parameter_is_not_captured(other_device, monkeypatch):
    """Muon beside AdamW is an AdamW; amsgrad is an option of it."""
    monkeypatch.setattr(twins, "gpu", twins.gpu or object())  # as if the kernels were there
    model = small_gpt(drop_rate=0.0).to(other_device)
    loss, weights = model_loss, list(model.parameters())
    assert graphable(model, optim.AdamW(weights), loss)
    assert graphable(model, optim.MuonWithAdamW([{"params": weights}]), loss)  # AdamW alone
    groups = [
        {"params": [p for p in weights if p.ndim == 2], "use_muon": True},
        {"params": [p for p in weights if p.ndim != 2]},
    ]
    for refused, reason in (
        (optim.MuonWithAdamW(groups), "Muon changes one matrix after another"),
        (optim.AdamW(weights, amsgrad=True), "AdamW with amsgrad changes one parameter"),
    ):
        assert not graphable(model, refused, loss)
        assert reason in obstacle(refused)


def test_a_trainer_says_why_there_is_no_graph(other_device, capsys):
    """graph=True is an error that names the reason; without it the usual step runs, with a note."""
    for graph in (True, None):
        run = trainer(steps=2, graph=graph, progress=True)
        run.setup.model.to(other_device)
        run.setup.optimizer = optim.AdamW(run.setup.model.parameters(), amsgrad=True)
        run.setup.scheduler = None
        if graph:
            with pytest.raises(ValueError, match="graph=True does not go with this optimizer: Ada"):
                run.run(plan=False)
        else:
            run.run(plan=False)
            note = "without a CUDA graph: AdamW with amsgrad changes one parameter after another"
            assert capsys.readouterr().out.count(note) == 1


@contextlib.contextmanager
def capturing_something():
    """Within it a graph seems to be captured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture.capturing, "graph", object())
        yield


def test_what_cannot_be_captured_says_so(other_device):
    x = torch.ones(3, device=other_device)
    weight = nn.Parameter(torch.ones(3).to(other_device))
    weight.grad = torch.ones(3).to(other_device)
    sgd, adam = optim.SGD([weight], lr=0.1), optim.AdamW([weight])
    known = torch.tensor([0, 1]).to(other_device)
    unknown = known + 0
    with capturing_something():
        for call in (
            lambda: x.sum().item(),
            lambda: float(x[0]),
            lambda: bool(x[0] > 0),
            lambda: x.cpu(),
            lambda: x.tolist(),
            lambda: print(x),
            lambda: torch.ones(2).to(other_device),
            lambda: torch.tensor([1.0], device=other_device),
            lambda: torch.rand(2, device=other_device),
            lambda: x.copy_(torch.ones(3)),
            lambda: F.dropout(x, 0.5),
            lambda: F.embedding(unknown, x[:, None]),
            sgd.step,
        ):
            with pytest.raises(RuntimeError, match="cannot be captured in a CUDA graph") as error:
                call()
            assert "\n" not in str(error.value)
    adam.step()
    assert x.tolist() == [1.0] * 3 and sgd.step() is None


def test_tensors_made_on_a_gpu_send_nothing(other_device):
    with capturing_something():
        made = [
            torch.zeros(2, 3, device=other_device),
            torch.ones(2, dtype=torch.bool, device=other_device),
            torch.full((2,), 1.5, device=other_device),
            torch.arange(2, 9, 3, device=other_device),
            torch.arange(3, dtype=torch.int32, device=other_device),
        ]
    assert [t.tolist() for t in made] == [
        [[0.0] * 3] * 2, [True] * 2, [1.5] * 2, [2, 5, 8], [0, 1, 2]
    ]  # fmt: skip
    assert [str(t.dtype) for t in made] == [
        "torch.float32", "torch.bool", "torch.float32", "torch.int64", "torch.int32"
    ]  # fmt: skip


# ----------------------------------------------------------------------------------- on a GPU
@pytest.fixture(autouse=True)
def as_it_was():
    yield
    torch.set_float32_matmul_precision("highest")
    cuda.fast_dropout(False)


def training(drop_rate=0.0, precision="float32", clip=True):
    """(step, model, optimizer, schedule) of a small GPT on the GPU."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.manual_seed(1)
    model = GPT(GPTConfig(65, 32, 64, 2, 2, drop_rate=drop_rate)).to("cuda")
    optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1.0 / (1 + i))

    def step(idx, targets):
        optimizer.zero_grad()
        with torch.autocast("cuda", enabled=precision == "bfloat16"):
            loss = model.loss(idx, targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5) if clip else None
        optimizer.step()
        return loss, norm

    return step, model, optimizer, schedule


def batches(n=12):
    for t in TOKENS[:n]:
        yield torch.from_numpy(t[:, :-1].copy()), torch.from_numpy(t[:, 1:].copy())


def run(graph, n=12, **options):
    """Losses, norms, weights and the optimizer's state after n steps."""
    step, model, optimizer, schedule = training(**options)
    torch.manual_seed(5)
    call = cuda.graphed(step) if graph else lambda *batch: step(*(t.to("cuda") for t in batch))
    numbers = []
    for batch in batches(n):
        numbers.append([float(x) for x in call(*batch) if x is not None])
        schedule.step()
    state = optimizer.state_dict()["state"]
    return (
        np.array(numbers),
        [p.detach().cpu().numpy() for p in model.parameters()],
        {float(s["step"]) for s in state.values()},
    )


@gpu
@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "tf32"}, {"precision": "bfloat16"}, {"clip": False}, {"drop_rate": 0.2}],
    ids=str,
)
def test_the_same_losses_as_without_a_graph(options):
    if "drop_rate" in options:
        cuda.fast_dropout()
    usual, weights, steps = run(False, **options)
    losses, weights_too, steps_too = run(True, **options)
    tolerance = 2e-3 if options.get("precision") in ("tf32", "bfloat16") else 2e-5
    np.testing.assert_allclose(losses, usual, rtol=tolerance)
    for a, b in zip(weights, weights_too, strict=True):
        np.testing.assert_allclose(a, b, atol=10 * tolerance)
    assert steps == steps_too == {12.0}
    assert len({round(x, 6) for x in usual[:, 0]}) == 12  # each batch gave a different loss


@gpu
def test_pytorchs_own_way():
    step, model, *_ = training()
    expected = [step(*(t.to("cuda") for t in batch))[0].item() for batch in batches(8)]
    step, model, *_ = training()
    losses = []
    g = cuda.CUDAGraph()
    for i, batch in enumerate(batches(8)):
        if i < 2:
            static = [t.to("cuda") for t in batch]
            losses.append(step(*static)[0].item())
            continue
        for mine, new in zip(static, batch, strict=True):
            mine.copy_(new)
        if i == 2:
            before = [p.detach().clone() for p in model.parameters()]
            with cuda.graph(g):
                assert cuda.is_current_stream_capturing()
                loss, _ = step(*static)
            assert all(bool((a == b).all()) for a, b in zip(before, model.parameters()))  # noqa: B905
        g.replay()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    g.reset()
    with pytest.raises(RuntimeError, match="empty"):
        g.replay()


@gpu
def test_other_shapes_and_wrong_ids():
    step, model, *_ = training()
    graphed = cuda.graphed(step, max_graphs=1)
    for batch in batches(6):
        graphed(*batch)
    short = [t[:2] for t in next(batches(1))]
    assert np.isfinite(graphed(*short)[0].item())  # as it is: no second graph
    for batch in batches(2):
        graphed(*batch)
    before = [p.detach().cpu().numpy() for p in model.parameters()]
    idx, targets = next(batches(1))
    for bad in ((idx + 60, targets), (idx, targets + 60), ((idx - 1).to("cuda"), targets)):
        with pytest.raises(IndexError, match="out of range|out of bounds"):
            graphed(*bad)
    after = [p.detach().cpu().numpy() for p in model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert np.isfinite(graphed(idx.to("cuda"), targets)[0].item())


@gpu
def test_a_failed_capture_changes_nothing():
    step, model, optimizer, _ = training()
    for batch in batches(2):
        step(*(t.to("cuda") for t in batch))
    static = [t.to("cuda") for t in next(batches(1))]

    def looks(idx, targets):
        return torch.tensor(step(idx, targets)[0].item())

    before = [p.detach().cpu().numpy() for p in model.parameters()]
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="cannot be captured"), cuda.graph(g):
        looks(*static)
    assert not cuda.is_current_stream_capturing()
    after = [p.detach().cpu().numpy() for p in model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert {float(s["step"]) for s in optimizer.state_dict()["state"].values()} == {2.0}
    assert np.isfinite(step(*static)[0].item())
    with cuda.graph(g):
        step(*static)
    g.replay()
    fresh = training()[0]
    with pytest.raises(RuntimeError, match="first step"), cuda.graph(cuda.CUDAGraph()):
        fresh(*static)


@gpu
def test_what_moved_is_noticed():
    step, model, optimizer, _ = training()
    graphed = cuda.graphed(step, warmup=1)
    for batch in batches(4):
        graphed(*batch)
    optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(RuntimeError, match="moved since the CUDA graph was captured"):
        graphed(*next(batches(1)))


@gpu
def test_memory_does_not_grow():
    step, *_ = training()
    graphed = cuda.graphed(step, warmup=1)
    sizes = []
    for i in range(60):
        graphed(*list(batches(12))[i % 12])
        sizes.append(cuda.memory_reserved())
    assert len(set(sizes[10:])) == 1
    assert cuda.memory_allocated() <= cuda.memory_reserved()


@gpu
def test_a_norm_that_is_not_finite_changes_no_weight():
    step, model, optimizer, _ = training(clip=False)
    batch = [t.to("cuda") for t in next(batches(1))]
    step(*batch)
    before = [p.detach().cpu().numpy() for p in model.parameters()]
    model.loss(*batch).backward()
    for bad in (float("nan"), float("inf")):
        optimizer.gradient_norm = torch.tensor(bad).to("cuda").array
        optimizer.step()
    after = [p.detach().cpu().numpy() for p in model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@gpu
def test_a_trainer_with_a_graph_makes_the_same_steps():  # with dropout
    cuda.fast_dropout()
    losses = []
    for graph in (False, True):
        torch.manual_seed(2)
        run = trainer(steps=12, graph=graph)
        run.model.to("cuda")
        result = run.run()
        losses.append([line["loss"] for line in run.metrics.lines if "loss" in line])
        losses[-1].append(result.val_loss)
        losses[-1] += [line["grad_norm"] for line in run.metrics.lines if "grad_norm" in line]
    assert len(losses[0]) > 20
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@gpu
def test_a_trainer_with_a_graph_stops_before_a_bad_step():
    cuda.fast_dropout()
    run = trainer(steps=12, graph=True)
    run.model.to("cuda")
    run.steps = 6
    run.run(plan=False)
    run.steps = 12
    with torch.no_grad():
        run.model.final_norm.weight[0] = float("inf")
    before = {n: p.detach().cpu().numpy() for n, p in run.model.named_parameters()}
    with pytest.raises(NonFiniteError, match="the loss is"):
        run.run(plan=False)
    for n, p in run.model.named_parameters():
        np.testing.assert_array_equal(p.detach().cpu().numpy(), before[n])


@gpu
def test_checkpointing_with_dropout_cannot_be_captured():
    cuda.fast_dropout()
    for drop_rate in (0.0, 0.1):
        model = small_gpt(drop_rate=drop_rate).to("cuda")
        model.gradient_checkpointing_enable()
        optimizer = optim.AdamW(model.parameters())

        def step(idx, model=model, optimizer=optimizer):
            loss = model.loss(idx[:, :-1], idx[:, 1:])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        graphed = cuda.graphed(step, warmup=1)
        idx = torch.arange(9).reshape(1, 9)
        graphed(idx)
        if drop_rate:
            with pytest.raises(RuntimeError, match="gradient checkpointing of code that draws"):
                graphed(idx)
        else:
            assert np.isfinite(graphed(idx).item())
