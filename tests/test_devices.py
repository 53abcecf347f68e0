"""What devices promise: clear lines where there is no GPU or no room, and the same work on each.

Out of memory is tried on the stand-in with an allocation that fails, and on a GPU with a memory
pool that may not grow.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import strict_array
from test_gradient_checkpointing import SHAPE, gradients
from test_training import TOKENS, small_gpt, trainer

import tinygrad_llm as torch
from tinygrad_llm import nn, optim
from tinygrad_llm.arrays import devices
from tinygrad_llm.finetune import (
    GPTClassifier,
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    classification_trainer,
    instruction_trainer,
    preference_trainer,
)
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.nn import functional as F
from tinygrad_llm.testing import assert_close
from tinygrad_llm.training import NonFiniteError, TokenBatches, Trainer, find_checkpoint
from tinygrad_llm.training.step import to_device_of

LESSONS = Path(__file__).resolve().parents[1] / "lessons"


def devices_of(model):
    """Where the parameters, their gradients and the buffers are."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [p.grad for p in model.parameters() if p.grad is not None]
    return {t.device.type for t in tensors}


def weights(model):
    """The bytes of all parameters and buffers, wherever they are."""
    return {n: devices.to_numpy(t.array).tobytes() for n, t in model.state_dict().items()}


# ------------------------------------------------------------------------------ what can't be had
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def no_driver(monkeypatch):
    """CuPy as it is on a machine without a driver: it can be imported, and every call fails."""

    def fail(*_):
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    runtime = types.SimpleNamespace(getDeviceCount=fail, memGetInfo=fail)
    cuda = types.SimpleNamespace(runtime=runtime, Device=fail, is_available=lambda: False)
    module = types.SimpleNamespace(cuda=cuda, arange=fail, asarray=fail, RawModule=fail)
    monkeypatch.setitem(sys.modules, "cupy", module)
    # as when nothing has used a GPU yet: kernels must not be asked for before the driver is there
    monkeypatch.setattr(
        devices, "on_first_gpu_use", [lambda: pytest.fail("a kernel was asked for")]
    )


@pytest.mark.parametrize(
    "take_away, message",
    [(no_cupy, r'CuPy, which is not installed: pip install "tinygrad_llm\[gpu-cuda13\]"'),
     (no_driver, "no usable NVIDIA driver or GPU .*cudaErrorInsufficientDriver")],
)  # fmt: skip
def test_no_gpu_is_one_clear_line_and_nothing_has_moved(take_away, message, monkeypatch, tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model(torch.ones(1, 2)).sum().backward()
    before = weights(model)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    take_away(monkeypatch)
    calls = [
        lambda: torch.zeros(2, device="cuda"),
        lambda: torch.tensor([1.0], device="cuda:0"),
        lambda: torch.ones(2).to("cuda"),
        lambda: torch.ones(2).cuda(),
        lambda: model.to("cuda"),
        lambda: model.cuda(),
        lambda: nn.Linear(2, 2, device="cuda"),
        lambda: torch.load(tmp_path / "model.pth", map_location="cuda"),
        lambda: torch.cuda.current_device(),
        lambda: torch.cuda.set_device(0),
        lambda: torch.cuda.mem_get_info(),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
    assert "CuPy" in torch.cuda.why_not() and "\n" not in torch.cuda.why_not()
    torch.cuda.synchronize()  # nothing to wait for
    assert torch.cuda.memory_allocated() == 0
    assert devices_of(model) == {"cpu"} and weights(model) == before
    assert model(torch.ones(1, 2)).shape == (1, 1)


def test_mixed_devices_are_one_clear_line_and_nothing_has_changed(other_device):
    here, there = torch.ones(2, 2), torch.ones(2, 2).to(other_device)
    linear, norm = nn.Linear(2, 2), nn.LayerNorm(2)
    table = nn.Embedding(3, 2)
    attention = F.scaled_dot_product_attention
    calls = [
        lambda: here * there,
        lambda: there @ here,
        lambda: here == there,
        lambda: torch.cat([here, there]),
        lambda: torch.where(here > 0, there, there),
        lambda: linear(there),
        lambda: norm(there),
        lambda: table(torch.tensor([1]).to(other_device)),
        lambda: F.cross_entropy(there, torch.tensor([0, 1])),
        lambda: attention(here[None, None], there[None, None], there[None, None]),
        lambda: here.add_(there),
    ]
    before = {**weights(linear), **weights(norm)}
    for i, call in enumerate(calls):
        with pytest.raises(RuntimeError, match="same device") as error:
            print(i, call())
        assert "\n" not in str(error.value)
    assert here.tolist() == there.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert {**weights(linear), **weights(norm)} == before


def test_a_gpu_that_is_not_there(other_device):
    count = torch.cuda.device_count()
    assert count >= 1
    message = rf"device 'cuda:{count}' does not exist: this machine has {count} GPU\(s\)"
    for call in (
        lambda: torch.ones(1).to(f"cuda:{count}"),
        lambda: nn.Linear(1, 1).to(f"cuda:{count}"),
        lambda: torch.cuda.set_device(count),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()


def test_whether_there_is_a_gpu_is_asked_of_each_cupy(other_device, monkeypatch):
    assert torch.cuda.is_available() and torch.cuda.device_count() >= 1
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cupy", None)
        assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
        assert "not installed" in torch.cuda.why_not()
    assert torch.cuda.is_available() and torch.cuda.device_count() >= 1


@pytest.fixture
def two_gpus():
    """Skips without two; "cuda" stands for the first one in the test and after it."""
    if not torch.cuda.is_available() or torch.cuda.device_count() < 2:
        pytest.skip("one GPU or none")
    yield "cuda:0", "cuda:1"
    torch.cuda.set_device(0)


def test_work_is_done_where_the_tensors_are(two_gpus):
    x, y = (torch.ones(3, 3, device=gpu) for gpu in two_gpus)
    assert (str(x.device), str(y.device)) == two_gpus
    for a in (x, y, x):
        made = [a * 2, a @ a, a > 0, a.sum(), torch.zeros_like(a), a.clone(), a[0], a.mean(0) + 1,
                torch.cat([a, a]), F.softmax(a, -1), F.gelu(a), a.argmax(), a.float()]  # fmt: skip
        assert {str(t.device) for t in made} == {str(a.device)}
        assert (a * 2).tolist() == [[2.0] * 3] * 3 and (a @ a).tolist() == [[3.0] * 3] * 3
    assert (x + y.to(x.device)).tolist() == [[2.0] * 3] * 3
    assert (y.add_(1).tolist(), str(y.device)) == ([[2.0] * 3] * 3, "cuda:1")
    assert x.copy_(y).tolist() == [[2.0] * 3] * 3 and str(x.device) == "cuda:0"
    assert str(torch.zeros(1, device="cuda").device) == "cuda:0"
    with torch.cuda.device(1):
        assert torch.cuda.current_device() == 1
        assert str(torch.zeros(1, device="cuda").device) == "cuda:1"
    assert torch.cuda.current_device() == 0


def test_two_gpus_do_not_mix(two_gpus):
    x, y = (torch.ones(3, 3, device=gpu) for gpu in two_gpus)
    ids = torch.tensor([0, 1]).to("cuda:0")
    layer, table = nn.Linear(3, 3).to("cuda:1"), nn.Embedding(5, 3).to("cuda:1")
    for call in (
        lambda: x + y,
        lambda: x @ y,
        lambda: x == y,
        lambda: torch.cat([y, x]),
        lambda: layer(x),
        lambda: table(ids),
        lambda: x.add_(y),
        lambda: F.cross_entropy(y[:2], ids),
        lambda: torch.where(x > 0, x, y),
    ):
        with pytest.raises(RuntimeError, match="same device, but found .*cuda:") as error:
            call()
        assert "\n" not in str(error.value)
    assert x.tolist() == y.tolist() == [[1.0] * 3] * 3


@pytest.mark.parametrize("gpu", [0, 1])
def test_training_on_either_gpu(gpu, two_gpus):
    def losses(place):
        torch.manual_seed(4)
        model = small_gpt(drop_rate=0.0).to(place)
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)
        ids = torch.from_numpy(TOKENS[:18].astype(np.int64)).reshape(2, 9).to(place)
        results = []
        for _ in range(5):
            loss = model.loss(ids[:, :-1], ids[:, 1:])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            assert {str(p.grad.device) for p in model.parameters()} == {str(loss.device)}
            optimizer.step()
            optimizer.zero_grad()
            results.append(loss.item())
        return results

    torch.cuda.set_device(1 - gpu)
    np.testing.assert_allclose(losses(f"cuda:{gpu}"), losses("cpu"), rtol=1e-4)


def test_a_model_on_two_gpus(two_gpus):
    """Each half has its parameters, gradients, norms and optimizer state where it is."""

    def run(first, second):
        torch.manual_seed(4)
        a, b = nn.Linear(6, 8).to(first), nn.Linear(8, 3).to(second)
        parameters = [*a.parameters(), *b.parameters()]
        optimizer = optim.AdamW(parameters, lr=1e-2)
        x = torch.linspace(-1, 1, 24).reshape(4, 6).to(first)
        numbers = []
        for _ in range(4):
            hidden = F.gelu(a(x))
            there = hidden.to(second)
            loss = (b(there) ** 2).mean() + (b(there).sum() * 0.1)
            loss = loss + hidden.mean().to(second)
            loss.backward()
            assert [str(p.grad.device) for p in parameters] == [str(p.device) for p in parameters]
            norm = nn.utils.clip_grad_norm_(parameters, 0.05)
            optimizer.step()
            optimizer.zero_grad()
            numbers += [loss.item(), norm.item()]
        return numbers

    np.testing.assert_allclose(run(*two_gpus), run("cpu", "cpu"), rtol=1e-4)


CALLS = {  # what is computed outside of ops too: on x (2, 3) float32
    "==": lambda x: x == 1.0,
    "isnan": lambda x: x.isnan(),
    "logical_not": lambda x: x.logical_not(),
    "&": lambda x: (x > 0) & (x < 1),
    "~": lambda x: ~(x > 0),
    "any": lambda x: (x > 0).any(),
    "sign": lambda x: x.long().sign(),
    "signbit": lambda x: x.signbit(),
    "//": lambda x: x // 2,
    "nonzero": lambda x: x.nonzero(),
    "argwhere": lambda x: torch.argwhere(x),
    "unique": lambda x: x.unique(),
    "sort": lambda x: x.sort()[0],
    "argmax": lambda x: x.argmax(),
    "topk": lambda x: x.topk(2)[1],
    "cat": lambda x: torch.cat([x, x]),
    "zeros_like": lambda x: torch.zeros_like(x),
    "new_ones": lambda x: x.new_ones(4),
    "clamp": lambda x: x.clamp(0, 1),
    "masked_fill": lambda x: x.masked_fill(x > 0, 2.0),
    "index": lambda x: x[torch.tensor([1, 0], device=x.device)],
    "uniform_": lambda x: x.clone().uniform_(),
    "zero_": lambda x: x.clone().zero_(),
    "add_": lambda x: x.clone().add_(1),
    "deepcopy": lambda x: copy.deepcopy(x),
    "dropout": lambda x: F.dropout(x, 0.5),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 2], device=x.device)),
    "multinomial": lambda x: torch.multinomial(x.abs() + 0.1, 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_on_the_gpu_of_the_tensor(name, two_gpus):
    """Whichever GPU was the current one before, and with the CPU's numbers."""
    x = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)
    torch.manual_seed(3)
    expected = CALLS[name](x)
    for device in two_gpus:
        (torch.zeros(1, device=two_gpus[0]) + 1).exp()
        torch.manual_seed(3)
        y = CALLS[name](x.to(device))
        assert str(y.device) == device
        np.testing.assert_allclose(y.cpu().numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adagrad, optim.RMSprop])
def test_every_optimizer_works_where_the_parameters_are(make, two_gpus):
    def run(first, second):
        parameters = [nn.Parameter(torch.ones(3, device=place)) for place in (first, second)]
        optimizer = make(parameters, lr=0.1)
        for _ in range(3):
            loss = sum(((p * p).sum().to(first) for p in parameters), torch.zeros((), device=first))
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5, norm_type=float("inf"))
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        return [p.detach().cpu().tolist() for p in parameters]

    np.testing.assert_allclose(run(*two_gpus), run("cpu", "cpu"), rtol=1e-5)


def test_memory_of_each_gpu(two_gpus):
    before = [torch.cuda.memory_allocated(i) for i in (0, 1)]
    kept = torch.zeros(1 << 20, device="cuda:1")
    after = [torch.cuda.memory_allocated(i) for i in ("cuda:0", "cuda:1")]
    assert after[0] == before[0] and after[1] - before[1] == kept.nbytes
    assert torch.cuda.memory_reserved(1) >= kept.nbytes
    assert torch.cuda.mem_get_info(1)[0] > 0
    for i in two_gpus:
        torch.cuda.synchronize(i)
        assert torch.cuda.get_device_name(i)


def test_a_graph_on_the_second_gpu(two_gpus):
    weight = nn.Parameter(torch.ones(64, 64, device="cuda:1") * 0.01)
    optimizer = optim.AdamW([weight], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = (x @ weight).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    graphed = torch.cuda.graphed(step, device="cuda:1", warmup=1)
    xs = [torch.full((8, 64), 1.0 + i) for i in range(6)]
    results = [graphed(x).item() for x in xs]
    with torch.no_grad():
        weight.copy_(torch.full((64, 64), 0.01))
    optimizer = optim.AdamW([weight], lr=0.1)
    assert torch.cuda.current_device() == 0
    np.testing.assert_allclose(results, [step(x.to("cuda:1")).item() for x in xs], rtol=1e-5)


def test_checkpoints_go_to_any_gpu(two_gpus, tmp_path):
    model = small_gpt(drop_rate=0.0).to("cuda:1")
    torch.save(model.state_dict(), tmp_path / "model.pth")
    state = torch.load(tmp_path / "model.pth", map_location="cuda:0")
    assert {str(t.device) for t in state.values()} == {"cuda:0"}
    model.load_state_dict(state)
    assert {str(p.device) for p in model.parameters()} == {"cuda:1"}
    assert {n: t.cpu().tolist() for n, t in state.items()} == {
        n: t.cpu().tolist() for n, t in model.state_dict().items()
    }


# ------------------------------------------------------------------------------------ no room left
@contextlib.contextmanager
def full_gpu(after):
    """Within it a GPU has no room for more than `after` bytes (the stand-in: arrays)."""
    import cupy

    if cupy is strict_array:
        original, left = strict_array.array, [3]

        def array(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError("Out of memory allocating 4,096 bytes")
            return original(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strict_array, "array", array)
            yield
        return
    pool = cupy.get_default_memory_pool()
    gc.collect()  # or what is garbage by now makes room later
    pool.free_all_blocks()
    before = pool.get_limit()
    held, size = [], pool.free_bytes()  # parts of blocks in which something small lives
    pool.set_limit(size=pool.total_bytes())
    try:
        while size >= 1 << 14:
            try:
                held.append(pool.malloc(size))
            except MemoryError:
                size //= 2
        pool.set_limit(size=pool.total_bytes() + after)
        yield
    finally:
        pool.set_limit(size=before)


def test_a_model_that_does_not_fit_stays_where_it_was(other_device):
    model = nn.Sequential(*(nn.Linear(600, 600) for _ in range(6)))  # 1.4 MB each
    model(torch.ones(1, 600)).sum().backward()
    before = weights(model)
    places = [p.grad for p in model.parameters()]
    with full_gpu(4 << 20), pytest.raises(torch.cuda.OutOfMemoryError, match="Out of memory") as e:
        model.to(other_device)
    assert "\n" not in str(e.value)
    assert devices_of(model) == {"cpu"} and weights(model) == before
    assert all(p.grad is g for p, g in zip(model.parameters(), places, strict=True))
    assert devices_of(model.to(other_device)) == {"cuda"}  # and with room it goes


def test_a_step_without_room_changes_no_weight(device):
    if device == "cpu":
        pytest.skip("a CPU's memory can't be limited here")
    import cupy

    if cupy is strict_array:
        pytest.skip("the stand-in has no memory pool")
    model = small_gpt(vocab_size=5000, emb_dim=64, context_length=64).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    batches = TokenBatches(TOKENS, 8, 64)
    run = Trainer(model, optimizer, batches, steps=3, progress=False)
    before = weights(model)
    with full_gpu(1 << 20), pytest.raises(torch.cuda.OutOfMemoryError, match="Out of memory"):
        run.run(plan=False)
    assert run.step == 0 and weights(model) == before
    assert run.run(plan=False).step == 3 and weights(model) != before  # with room it trains


# -------------------------------------------------------------------------- trainers and batches
def test_batches_go_to_the_model(other_device):
    model = nn.Linear(2, 2).to(other_device)
    x = torch.ones(2)
    batch = {"x": x, "pair": (x, [x, 3]), "text": "a"}
    moved = to_device_of(model, batch)
    assert moved["x"].device.type == moved["pair"][1][0].device.type == other_device
    assert (type(moved["pair"]), moved["pair"][1][1], moved["text"]) == (tuple, 3, "a")
    assert batch["x"] is x and x.device.type == "cpu"
    there = x.to(other_device)
    assert to_device_of(model, (there,))[0] is there
    assert to_device_of(nn.ReLU(), batch) is batch


def losses_on(device, make):
    """The losses of some steps, and that plan, validation and rate finder work on the way."""
    run = make(device)
    before = weights(run.model)
    assert "step" in str(run.plan())
    assert weights(run.model) == before
    result = run.run()
    assert devices_of(run.model) == {device}
    losses = [line["loss"] for line in run.metrics.lines if "loss" in line]
    return [*losses, result.val_loss]


def pretraining(device):
    run = trainer(steps=6)
    run.model.to(device)
    return run


class Letters:
    eos_token_id = 12

    def encode(self, text):
        return [ord(c) % 12 for c in text]


def classifying(device):
    torch.manual_seed(3)
    model = GPTClassifier(GPT({**SHAPE, "drop_rate": 0.1}), pad_token_id=12).to(device)
    texts = ["spam spam", "ham", "more spam", "a ham", "spam", "hams"]
    data = TextClassificationDataset(
        [(t, int("spam" in t)) for t in texts], Letters(), 8, pad_token_id=12
    )
    return classification_trainer(model, data, data, epochs=4, batch_size=2, progress=False)


ENTRIES = [
    {"instruction": "a", "input": "", "output": "bc", "chosen": "bc", "rejected": c} for c in "defg"
]


def instructing(device):
    torch.manual_seed(3)
    model = GPT(GPTConfig(**{**SHAPE, "context_length": 200})).to(device)
    data = InstructionDataset(ENTRIES, Letters())
    return instruction_trainer(
        model, data, data, epochs=3, batch_size=2, pad_token_id=12, progress=False
    )


def preferring(device):
    torch.manual_seed(3)
    model = GPT(GPTConfig(**{**SHAPE, "context_length": 200})).to(device)
    data = PreferenceDataset(ENTRIES, Letters())
    return preference_trainer(
        model, copy.deepcopy(model), data, data, epochs=3, batch_size=2, pad_token_id=12,
        progress=False,
    )  # fmt: skip


@pytest.mark.parametrize("make", [pretraining, classifying, instructing, preferring])
@pytest.mark.suite_cases(1)
def test_every_trainer_moves_its_batches(make, other_device):
    expected = losses_on("cpu", make)
    assert len(expected) > 4
    np.testing.assert_allclose(losses_on(other_device, make), expected, rtol=2e-3, atol=1e-5)


def test_the_search_for_a_rate_and_a_bad_batch_named_on_every_device(device):
    run = pretraining(device)
    before = weights(run.model)
    assert len(run.find_learning_rate(steps=12).losses) >= 10
    assert weights(run.model) == before
    with torch.no_grad():
        run.model.final_norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        run.run(plan=False)


def test_a_non_finite_gradient_is_named_on_every_device(device):
    w = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        w.weight.fill_(0.0)
    w.to(device)
    batches = [(torch.ones(2, 1), torch.ones(2, 1))]
    run = Trainer(
        w, optim.SGD(w.parameters(), lr=0.1), batches, steps=2, progress=False,
        loss=lambda model, batch: model(batch[0]).sqrt().sum() + batch[1].sum(),
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match="the gradient norm is") as error:
        run.run(plan=False)
    assert error.value.op == "sqrt"


# ------------------------------------------------------------------------------------ checkpoints
@pytest.mark.parametrize("there_first", [True, False])
def test_a_run_goes_on_on_the_other_device(there_first, other_device, tmp_path):
    first, second = (other_device, "cpu") if there_first else ("cpu", other_device)
    whole = trainer(steps=8)
    expected = whole.run(plan=False)

    begun = trainer(tmp_path, steps=4)
    begun.model.to(first)
    begun.run(plan=False)
    rest = trainer(tmp_path, steps=8)
    rest.model.to(second)
    assert weights(rest.model.cpu()) != weights(begun.model.cpu())
    rest.model.to(second)
    result = rest.run(resume=True, plan=False)
    assert result.step == 8 and devices_of(rest.model) == {second}
    states = [v for s in rest.optimizer.state.values() for v in s.values() if hasattr(v, "device")]
    assert {v.device.type for v in states if v.ndim} == {second}
    assert result.loss == pytest.approx(expected.loss, rel=1e-3)
    for name, value in rest.model.state_dict().items():
        assert_close(value.cpu(), whole.model.state_dict()[name], rtol=1e-2, atol=1e-4)
    built = find_checkpoint(tmp_path).build_model()
    assert devices_of(built) == {"cpu"} and weights(built) == weights(rest.model)


def test_files_are_read_on_the_other_device(other_device, tmp_path):
    model = small_gpt().to(other_device)
    torch.save(model.state_dict(), tmp_path / "there.pth")
    here = small_gpt(seed=1)
    here.load_state_dict(torch.load(tmp_path / "there.pth", map_location="cpu"))
    assert devices_of(here) == {"cpu"} and weights(here) == weights(model)
    torch.save(here.state_dict(), tmp_path / "here.pth")
    again = small_gpt(seed=2).to(other_device)
    again.load_state_dict(torch.load(tmp_path / "here.pth"))
    assert devices_of(again) == {"cuda"} and weights(again) == weights(model)


# ------------------------------------------------------------------------- gradient checkpointing
@pytest.mark.parametrize("drop", [0.0, 0.2])
def test_gradient_checkpointing(drop, device):
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SHAPE, drop_rate=drop)).to(device)
    idx, targets = (torch.randint(0, 31, (3, 12)).to(device) for _ in range(2))
    losses, plain = gradients(model, idx, targets, False)
    losses_again, again = gradients(model, idx, targets, True)
    np.testing.assert_allclose(losses_again, losses, rtol=1e-6)
    for name in plain:
        a, b = devices.to_numpy(again[name]), devices.to_numpy(plain[name])
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7, err_msg=name)


def test_gradient_checkpointing_needs_less_gpu_memory():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    model = GPT(GPTConfig(64, 256, 128, 4, 8, drop_rate=0.0)).to("cuda")
    idx, targets = (torch.randint(0, 64, (8, 256)).to("cuda") for _ in range(2))
    most = {}
    for on in (False, True):
        gradients(model, idx, targets, on, steps=1)
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
        gradients(model, idx, targets, on, steps=1)
        most[on] = torch.cuda.max_memory_allocated() - base
    assert most[True] < 0.5 * most[False], most


# ---------------------------------------------------------------------------------------- lessons
def lesson(name, tmp_path):
    """What a lesson's script defines and leaves; it runs in a copy, so that its plot goes there."""
    path = tmp_path / Path(name).name
    path.write_bytes((LESSONS / name).read_bytes())
    return runpy.run_path(str(path), run_name="lesson")


def test_the_lesson_on_devices_takes_the_gpu(other_device, tmp_path, capsys):
    left = lesson("01_tensors/04_saving_and_devices.py", tmp_path)
    assert left["device"].type == left["prediction"].device.type == other_device
    assert devices_of(left["model"]) == {other_device}
    assert {v.device.type for v in left["state"].values()} == {"cpu"}
    assert "why not: there is a GPU" in capsys.readouterr().out


def test_the_gpt_of_the_lesson(other_device, tmp_path):
    left = lesson("04_gpt/04_model.py", tmp_path)
    model, ids, logits = left["model"], left["ids"], left["logits"]
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.to(other_device)
    ids = ids.to(other_device)
    results = model(ids)
    assert results.device.type == other_device
    assert_close(results.cpu(), logits.detach(), rtol=1e-4, atol=1e-5)
    F.cross_entropy(results[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    for name, p in model.named_parameters():
        assert_close(p.grad.cpu(), expected[name], rtol=1e-3, atol=1e-5)
    gpt = left["gpt"].to(other_device)
    assert_close(gpt(ids).cpu(), results.detach().cpu(), rtol=1e-4, atol=1e-5)
