"""The training loop: batches, accumulation, exact resuming, non-finite numbers, a full disk."""

import io
import json
import math
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_llm import nn, optim, random
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.models.base import undisturbed
from tinygrad_llm.optim.lr_scheduler import WarmupCosineLR
from tinygrad_llm.tensor import Tensor, wrap
from tinygrad_llm.training import (
    EvaluationBatches,
    NonFiniteError,
    StorageError,
    Stream,
    TokenBatches,
    Trainer,
    add_gradients,
    decay_groups,
    evaluate,
    find_checkpoint,
    flops_per_token,
    plan,
    plot_losses,
    read_metrics,
)
from tinygrad_llm.training.plan import measure
from tinygrad_llm.training.progress import PlainProgress, duration

TOKENS = np.random.RandomState(0).randint(0, 13, 700).astype(np.uint16)


class Loader:
    """A shuffling loader, which draws its order from the default generator when a pass begins."""

    def __init__(self, data, batch_size):
        self.data, self.batch_size = data, batch_size

    def __iter__(self):
        order = random.default_generator.randperm(len(self.data)).tolist()
        for i in range(0, len(order) - self.batch_size + 1, self.batch_size):
            rows = [self.data[j] for j in order[i : i + self.batch_size]]
            yield tuple(wrap(np.stack(part)) for part in zip(*rows, strict=True))


def small_gpt(seed=0, **changes):
    random.manual_seed(seed)
    shape = {"vocab_size": 13, "context_length": 8, "emb_dim": 8, "n_heads": 2, "n_layers": 2}
    return GPT(GPTConfig(**{**shape, "drop_rate": 0.1, "qkv_bias": False, **changes}))


def trainer(folder=None, steps=12, batches=None, **options):
    model = small_gpt()
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    options = {"checkpoint_every": 4, "eval_every": 5, "progress": False, **options}
    return Trainer(
        *(model, optimizer, batches or TokenBatches(TOKENS[:600], 4, 8, seed=3)),
        scheduler=WarmupCosineLR(optimizer, 2, 100, 1e-4),
        validation=EvaluationBatches(TOKENS[600:], 4, 8),
        **{"steps": steps, "folder": folder, **options},
    )


def weights(model):
    return {name: value.array.tobytes() for name, value in model.state_dict().items()}


# ------------------------------------------------------------------------------------- batches
@given(
    n=st.integers(2, 60), context=st.integers(1, 12), size=st.integers(1, 5), seed=st.integers(0, 9)
)
@settings(deadline=None, max_examples=60)
def test_windows_of_an_epoch_do_not_overlap_and_targets_follow_inputs(n, context, size, seed):
    tokens = np.arange(n, dtype=np.int32)
    if n <= context:
        with pytest.raises(ValueError, match="too few for a context"):
            TokenBatches(tokens, size, context)
        return
    batches = TokenBatches(tokens, size, context, seed=seed)
    rows = []
    for x, y in batches:
        assert x.shape == y.shape == (size, context) and x.array.dtype == np.int64
        assert (y.array == x.array + 1).all()
        rows += list(x.array)
        if len(rows) >= 3 * batches.windows:
            break
    for epoch in range(3):
        seen = np.concatenate(rows[epoch * batches.windows :][: batches.windows])
        assert len(set(seen.tolist())) == len(seen) == batches.windows * context
    assert batches.windows * context > n - 2 * context - 1  # and little is left out
    assert len(batches) == math.ceil(batches.windows / size)


def test_batches_go_on_where_they_were_left_whatever_else_draws_numbers():
    first = TokenBatches(TOKENS, 3, 8, seed=5)
    stream = iter(first)
    for _ in range(40):
        next(stream)
    state = json.loads(json.dumps(first.state_dict()))
    np.random.seed(0)
    random.manual_seed(9)
    second = TokenBatches(TOKENS, 3, 8, seed=0)
    second.load_state_dict(state)
    for (x, y), (u, v), _ in zip(stream, second, range(40), strict=False):
        assert (x.array == u.array).all() and (y.array == v.array).all()
    with pytest.raises(ValueError, match="tokens=700 and are now tokens=699"):
        TokenBatches(TOKENS[:-1], 3, 8).load_state_dict(state)


@pytest.mark.parametrize(
    "tokens, size, context, error",
    [
        (TOKENS, 0, 8, "at least 1"),
        (TOKENS, 1, -8, "at least 1"),
        (TOKENS.reshape(2, -1), 1, 8, r"shape \(2, 350\)"),
        (TOKENS.astype(float), 1, 8, "float64"),
    ],
)
def test_tokens_that_make_no_batches_are_refused(tokens, size, context, error):
    with pytest.raises((ValueError, TypeError), match=error):
        TokenBatches(tokens, size, context)


@given(n=st.integers(2, 50), context=st.integers(1, 9), size=st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_validation_sees_every_token_once(n, context, size):
    batches = EvaluationBatches(np.arange(n), size, context)
    pairs = []
    for x, y in batches:
        kept = y.array != -100
        pairs += zip(x.array[kept].tolist(), y.array[kept].tolist(), strict=True)
    assert pairs == [(i, i + 1) for i in range(n - 1)]
    assert batches.predicted == n - 1
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_a_loader_without_a_place_of_its_own_is_taken_up_again():
    data = [(np.array([i]), np.array([i])) for i in range(10)]

    def draw(stream, n):
        out = []
        for _ in range(n):
            out.append(stream.next()[0].array.ravel().tolist())
            random.default_generator.rand((3,))  # dropout, say
        return out

    random.manual_seed(4)
    first = Stream(Loader(data, 3))
    draw(first, 6)
    state, random_state = first.state_dict(), random.get_rng_state()
    expected = draw(first, 9)
    random.manual_seed(99)
    second = Stream(Loader(data, 3))
    second.load_state_dict(state)
    random.set_rng_state(random_state)
    assert draw(second, 9) == expected
    assert second.epoch == first.epoch == 4


def test_streams_that_cannot_be_read_twice_or_are_empty_are_refused():
    with pytest.raises(TypeError, match="generator can be read only once"):
        Stream(batch for batch in [1])
    with pytest.raises(ValueError, match="has no batches"):
        Stream([]).next()
    with pytest.raises(ValueError, match="another kind of training data"):
        Stream([1]).load_state_dict({"own": {}})


# --------------------------------------------------------------------------------- gradients
def batch_of(lengths, width=9, seed=1):
    """Rows of which the first `lengths[i]` targets count."""
    random_state = np.random.RandomState(seed)
    x = random_state.randint(0, 13, (len(lengths), width))
    y = random_state.randint(0, 13, (len(lengths), width))
    for row, n in enumerate(lengths):
        y[row, n:] = -100
    return wrap(x[:, :8]), wrap(y[:, :8])


def test_accumulation_weighs_by_tokens_not_by_batches():
    whole = batch_of([8, 1, 2, 0, 5, 3])
    for cuts in ([2, 4], [1, 2, 3, 4, 5], []):
        model = small_gpt(drop_rate=0.0)
        edges = [0, *cuts, 6]
        parts = [
            tuple(wrap(t.array[a:b]) for t in whole) for a, b in zip(edges, edges[1:], strict=False)
        ]
        loss, n = add_gradients(model, parts)
        assert n == 19
        if not cuts:
            expected = loss, {k: p.grad.array for k, p in model.named_parameters()}
        else:
            grads = {k: p.grad.array.copy() for k, p in model.named_parameters()}
            split = loss, grads
            reference = small_gpt(drop_rate=0.0)
            total = reference.loss(*whole)
            total.backward()
            assert split[0] == pytest.approx(float(total.item()), rel=1e-6)
            for name, parameter in reference.named_parameters():
                np.testing.assert_allclose(grads[name], parameter.grad.array, atol=2e-7, rtol=1e-4)
            means = [float(reference.loss(*p).item()) for p in parts if (p[1].array >= 0).any()]
            assert abs(np.mean(means) - split[0]) > 1e-3  # a mean of means is another number
    assert math.isfinite(expected[0])


def test_a_step_without_targets_changes_nothing_and_training_goes_on():
    nothing, something = batch_of([0, 0]), batch_of([8, 8])
    run = trainer(batches=[nothing, something], steps=3, checkpoint_every=99)
    before = weights(run.model)
    run.steps = 1
    run.run(plan=False)
    assert weights(run.model) == before and run.tokens == 0
    run.steps = 2
    run.run(plan=False)
    assert weights(run.model) != before and run.tokens == 16
    assert [line["step"] for line in run.metrics.lines if "loss" in line] == [2]


def test_a_look_at_a_model_changes_nothing():
    model = small_gpt(drop_rate=0.5)
    model.train()
    model.trf_blocks[0].eval()  # one part that the user has frozen
    modes = [module.training for module in model.modules()]
    state = random.get_rng_state()
    with pytest.raises(KeyError), undisturbed(model):
        assert not any(module.training for module in model.modules())
        random.default_generator.rand((4,))
        assert not model.loss(*batch_of([8])).requires_grad
        raise KeyError
    assert [module.training for module in model.modules()] == modes
    assert (random.get_rng_state() == state).all()


def test_measuring_puts_the_modes_of_all_modules_back():
    run = trainer()
    run.model.eval()
    run.model.trf_blocks[0].train()
    modes = [module.training for module in run.model.modules()]
    run.measure()
    assert [module.training for module in run.model.modules()] == modes


def sizes_in_turn(sizes):
    """A trainer of batches of these lengths, one after the other, which takes no time; a clock.

    The clock goes on by the square of a step's tokens, and by 0.5 for each step.
    """
    run, clock = trainer(), [0.0]
    batch = run.setup.stream.next()
    batches = [tuple(part[:1, :n] for part in batch) for n in sizes]
    run.setup.stream = Stream(batches)
    run.setup.accumulation = 1
    run.setup.update = lambda taken: clock.__setitem__(0, clock[0] + 0.5 + sum(map(cost, taken)))
    return run, clock


def cost(batch):
    return float(batch[0].shape[1] ** 2)


@pytest.mark.parametrize("sizes", [[8, 1, 1, 1], [1, 8], [2, 3, 2, 8, 8, 7, 1, 5], [4, 4]])
@pytest.mark.parametrize("patience", [0.0, 1e9])
def test_batches_of_different_sizes_are_measured_by_their_sizes(sizes, patience, monkeypatch):
    """A long batch beside short ones: the plan has the time of all, and not of those that came."""
    run, clock = sizes_in_turn(sizes)
    watch = SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr("tinygrad_llm.training.plan.time", watch)
    measured = measure(run.setup, cost, repeats=8, patience=patience)
    costs = [float(n * n) for n in sizes * 32][:32]
    assert measured.seconds == pytest.approx(0.5 + sum(costs) / 32)
    assert measured.flops == pytest.approx(sum(costs) / 32)
    assert measured.tokens == round(sum((sizes * 32)[:32]) / 32)


@pytest.mark.parametrize("accumulation", [4, 16])
def test_more_steps_are_timed_than_were_looked_at(accumulation, monkeypatch):
    """Many batches in a step: the few steps that were looked at are timed again in their order."""
    run, clock = sizes_in_turn([1, 2, 8])
    run.setup.accumulation = accumulation
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    measured = measure(run.setup, cost, repeats=11, patience=1e9)
    costs = [float(n * n) for n in [1, 2, 8] * 11][:32]
    steps = 32 // accumulation
    assert measured.seconds == pytest.approx(0.5 + sum(costs) / steps)
    assert measured.flops == pytest.approx(sum(costs) / steps)


def test_the_memory_of_a_plan_is_that_of_the_largest_batch():
    run, _ = sizes_in_turn([1, 2, 8, 1])
    run.setup.update = lambda taken: bytearray(int(100_000 * cost(taken[0])))
    measured = measure(run.setup, cost)
    assert 6_400_000 <= measured.peak_bytes < 6_500_000


def test_the_memory_of_a_plan_has_gradients_and_the_optimizers_state():
    """A wide model and few tokens: of AdamW gradients, m and v are nearly all."""
    wide = small_gpt(emb_dim=256)
    run = Trainer(
        *(wide, optim.AdamW(wide.parameters(), lr=1e-2), TokenBatches(TOKENS[:600], 1, 4, seed=3)),
        steps=1, progress=False,
    )  # fmt: skip
    weights = sum(p.nbytes for p in wide.parameters())
    assert 3 * weights <= measure(run.setup).peak_bytes < 3.5 * weights
    run.run(plan=False)  # of a run that is continued they are there already
    assert weights <= measure(run.setup).peak_bytes < 1.5 * weights


def test_a_rate_below_what_the_run_reaches_is_measured_again(monkeypatch):
    reporter, again = trainer().reporter, []
    monkeypatch.setattr(
        "tinygrad_llm.training.reporting.peak_flops", lambda seconds: again.append(1) or 50.0
    )
    assert reporter._used(30.0) is None
    reporter.peak = 20.0
    assert reporter._used(10.0) == 0.5 and not again
    assert reporter._used(30.0) == 0.6 and again == [1]
    assert reporter._used(60.0) == 1.0 and reporter._used(30.0) == 0.5


def test_the_memory_of_a_gpu_is_that_of_its_pool(monkeypatch):
    """A GPU's arrays are not among those that tracemalloc sees."""
    asked = []
    device = SimpleNamespace(type="cuda", index=1)
    monkeypatch.setattr(plan, "device_of", lambda model: device)
    monkeypatch.setattr(plan.cuda, "memory_allocated", lambda of: asked.append(of) or 700)
    monkeypatch.setattr(plan.cuda, "memory_reserved", lambda of: asked.append(of) or 5700)
    assert trainer().measure().peak_bytes == 5000
    assert asked == [device, device]


def test_only_matrices_decay():
    model = small_gpt()
    matrices, others = decay_groups(model.parameters(), 0.1)
    assert {p.ndim for p in matrices["params"]} == {2} and matrices["weight_decay"] == 0.1
    assert {p.ndim for p in others["params"]} == {1} and others["weight_decay"] == 0.0
    assert len(matrices["params"] + others["params"]) == len(list(model.parameters()))
    assert decay_groups(matrices["params"], 0.1) == [matrices]


def test_evaluation_is_weighted_by_tokens_and_disturbs_nothing():
    model = small_gpt(drop_rate=0.5)
    model.train()
    state = random.get_rng_state()
    loss, n = evaluate(model, [batch_of([8, 1]), batch_of([0]), batch_of([2, 3], seed=2)])
    assert n == 14 and model.training
    drawn = random.default_generator.rand((4,))
    random.set_rng_state(state)
    assert (random.default_generator.rand((4,)) == drawn).all()
    model.eval()
    parts = [batch_of([8, 1]), batch_of([2, 3], seed=2)]
    expected = (
        sum(float(model.loss(*p).item()) * k for p, k in zip(parts, (9, 5), strict=True)) / 14
    )
    assert loss == pytest.approx(expected, rel=1e-6)
    assert math.isnan(evaluate(model, [batch_of([0])])[0])


# -------------------------------------------------------------------------------- whole runs
def test_ten_lines_are_a_run(tmp_path, capsys):
    model = small_gpt()
    run = Trainer(
        model,
        optim.AdamW(model.parameters(), lr=1e-2),
        TokenBatches(TOKENS, 4, 8),
        steps=30,
        folder=tmp_path / "run",
    )
    result = run.run()
    assert result.step == 30 and result.tokens == 30 * 32
    assert result.plot.read_bytes().startswith(b"\x89PNG")
    assert find_checkpoint(result.checkpoint).step == 30
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert lines[-1]["loss"] < lines[0]["loss"]
    shown = capsys.readouterr().out
    parameters = sum(p.numel() for p in model.parameters())
    assert f"parameters   {parameters:,}" in shown and "960 in 30 steps" in shown
    for word in ("FLOP", "memory", "time", "as just measured", "step 30/30", "tokens/s", "left"):
        assert word in shown


def test_plan_validation_and_samples_leave_no_trace():
    plain = trainer(eval_every=99)
    plain.validation = None
    plain.run(plan=False)
    seen = []

    def sample(model):
        assert not model.training
        seen.append(float(random.default_generator.rand((1,))[0]))
        return "text"

    busy = trainer(eval_every=1, sample=sample, sample_every=1)
    busy.run(plan=True)
    assert len(seen) == 11
    assert weights(busy.model) == weights(plain.model)
    assert busy.last_loss == plain.last_loss


@pytest.mark.parametrize(("stop", "loader"), [(0, False), (3, True), (6, True), (9, False)])
def test_a_run_cut_in_two_is_the_run_in_one(tmp_path, stop, loader):
    def batches():
        if not loader:
            return TokenBatches(TOKENS[:600], 4, 8, seed=3)
        rows = TOKENS[:585].astype(np.int64).reshape(-1, 9)
        return Loader([(row[:-1], row[1:]) for row in rows], 16)

    whole = trainer(batches=batches(), accumulation=2)
    whole.run(plan=False)

    first = trainer(tmp_path / "run", batches=batches(), accumulation=2, checkpoint_every=3)
    first.steps = max(1, stop)
    first.run(plan=stop % 2 == 0)
    random.manual_seed(12345)  # another process would start elsewhere
    second = trainer(tmp_path / "run", batches=batches(), accumulation=2)
    result = second.run(resume=True)
    assert result.step == 12
    assert weights(second.model) == weights(whole.model)
    timeless = [
        [
            {k: v for k, v in line.items() if k not in ("seconds", "mfu")}
            for line in run.metrics.lines
        ]
        for run in (whole, second)
    ]
    drop = [
        line for line in timeless[1] if not ("val_loss" in line and line["step"] == max(1, stop))
    ]
    assert [line for line in drop if "loss" in line] == [
        line for line in timeless[0] if "loss" in line
    ]
    assert read_metrics(tmp_path / "run" / "metrics.jsonl") == second.metrics.lines


def test_resuming_needs_the_same_run(tmp_path):
    trainer(tmp_path, steps=2).run(plan=False)
    with pytest.raises(StorageError, match="holds a run already .step-00000002."):
        trainer(tmp_path).run()
    other = trainer(tmp_path, batches=TokenBatches(TOKENS[:500], 4, 8))
    with pytest.raises(StorageError, match="belongs to another run: .*tokens=600"):
        other.run(resume=True)
    model = small_gpt(emb_dim=16)
    another = Trainer(
        model, optim.AdamW(model.parameters()), [batch_of([8])], steps=1, folder=tmp_path
    )
    with pytest.raises(StorageError, match="does not fit the model"):
        another.run(resume=True)
    with pytest.raises(StorageError, match="does not exist"):
        trainer(tmp_path / "new").run(resume=tmp_path / "nowhere")
    with pytest.raises(StorageError, match="has no folder"):
        trainer().run(resume=True)


def test_resuming_nothing_is_beginning(tmp_path):
    result = trainer(tmp_path, steps=3).run(resume=True, plan=False)
    assert result.step == 3


def test_resuming_damaged_checkpoints_is_not_silently_beginning(tmp_path):
    trainer(tmp_path, steps=2).run(plan=False)
    for path in (tmp_path / "checkpoints").glob("*/manifest.json"):
        path.write_text("")
    with pytest.raises(StorageError, match="no valid checkpoint"):
        trainer(tmp_path).run(resume=True)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_saves_says_how_to_go_on_and_loses_nothing(tmp_path, capsys, kind):
    whole = trainer()
    whole.run(plan=False)
    options = {"checkpoint_every": 99, "eval_every": 99, "progress": PlainProgress()}
    first = trainer(tmp_path, **options, resume_command="do it again")
    loss = first.loss

    def interrupted(model, batch):
        if first.step == 6:
            os.kill(os.getpid(), kind)
        return loss(model, batch)

    first.loss = interrupted
    before = signal.getsignal(kind)
    with pytest.raises(KeyboardInterrupt if kind == signal.SIGINT else SystemExit):
        first.run(plan=False)
    assert signal.getsignal(kind) is before
    shown = capsys.readouterr().out
    assert "finishing this step" in shown and "step-00000007; to continue: do it again" in shown
    second = trainer(tmp_path)
    second.run(resume=True, plan=False)
    assert weights(second.model) == weights(whole.model)


def test_a_second_ctrl_c_stops_immediately(tmp_path):
    run = trainer(tmp_path)

    def twice(model, batch):
        if run.model.training:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return model.loss(*batch)

    run.loss = twice
    with pytest.raises(KeyboardInterrupt):
        run.run(plan=False)
    assert run.step == 0 and find_checkpoint(tmp_path).step == 0


# ----------------------------------------------------------------------------- numbers gone bad
class Spoiled(nn.Module):
    """w·x through an op that gives no number once `batch` says so."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(wrap(np.ones(3, np.float32)))

    def forward(self, x):
        return (self.weight * x).exp().log().sum()


def spoiled(folder, bad, loss=None, at=5):
    good = (wrap(np.full(3, 0.5, np.float32)), wrap(np.zeros(1, np.int64)))
    batches = [good] * (at - 1) + [(wrap(np.array(bad, np.float32)), good[1])] + [good]
    model = Spoiled()
    return Trainer(
        *(model, optim.SGD(model.parameters(), lr=0.01), batches),
        steps=9,
        folder=folder,
        loss=loss or (lambda model, batch: model(batch[0])),
        checkpoint_every=2,
        progress=False,
    )


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "bad, op, message",
    [
        (
            [200.0, 1, 1],
            "exp",
            r"the loss is inf. First made by exp \(op 2 .*\(3,\) from 0.98 to 196",
        ),
        ([-200.0, 1, 1], "log", r"the loss is -inf. First made by log \(op 3 "),
        (
            [np.nan, 1, 1],
            None,
            "the loss is nan. First made by an input of mul .* not finite already",
        ),
    ],
)
def test_a_loss_that_is_not_finite_names_step_op_and_checkpoint(tmp_path, bad, op, message):
    run = spoiled(tmp_path, bad)
    with pytest.raises(NonFiniteError, match=message) as error:
        run.run(plan=False)
    assert str(error.value).startswith("step 5: ")
    assert error.value.step == 5 and error.value.op == op
    assert error.value.checkpoint == find_checkpoint(tmp_path).path
    assert error.value.checkpoint.name == "step-00000004" in str(error.value)
    assert np.isfinite(run.model.weight.array).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_gradient_that_is_not_finite_is_stopped_before_the_update(tmp_path):
    def loss(model, batch):
        total = (model.weight * batch[0]).sum()
        return (total * 0.0 if batch[0].array[0] > 1 else total).sqrt()

    run = spoiled(tmp_path, [2.0, 1, 1], loss)
    with pytest.raises(
        NonFiniteError, match="gradient norm is (nan|inf).*First made by sqrt"
    ) as error:
        run.run(plan=False)
    assert error.value.op == "sqrt" and error.value.step == 5
    assert np.isfinite(run.model.weight.array).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_bad_numbers_in_the_plan_are_reported_in_the_same_way(tmp_path):
    with pytest.raises(NonFiniteError, match="step 1: the loss is inf.*no checkpoint was written"):
        spoiled(tmp_path, [200.0, 1, 1], at=1).run()


def diverging(folder=None, at=2, **options):
    """A run whose weights are finite and as large as 1e30 after a step: its next loss is NaN."""
    run = trainer(folder, steps=6, **options)
    before = run.optimizer.step

    def step(*arguments):
        before(*arguments)
        if run.step + 1 == at:
            for p in run.model.parameters():
                p.array[...] *= np.float32(1e30)

    run.optimizer.step = step
    return run


def test_a_validation_loss_that_is_not_finite_ends_the_run(tmp_path):
    run = diverging(tmp_path, eval_every=2, checkpoint_every=1)
    message = (
        r"step 2: in validation the loss is nan. First made by \w+ .*The weights have diverged"
    )
    with pytest.raises(NonFiniteError, match=message) as error:
        run.run(plan=False)
    assert error.value.step == 2 and error.value.op
    assert error.value.checkpoint == find_checkpoint(tmp_path).path
    assert error.value.checkpoint.name == "step-00000001"
    assert not any(math.isnan(line.get("val_loss", 0.0)) for line in run.metrics.lines)


def test_a_sample_of_a_model_that_diverged_is_not_the_error():
    def sample(model):
        raise RuntimeError("the model's logits are NaN")

    run = diverging(eval_every=99, sample=sample, sample_every=2)
    with pytest.raises(NonFiniteError, match="step 2: the loss is nan.*have diverged"):
        run.run(plan=False)
    run = trainer(steps=6, sample=sample, sample_every=2)  # another reason stays what it is
    with pytest.raises(RuntimeError, match="logits are NaN"):
        run.run(plan=False)


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path):
    run = trainer(tmp_path, steps=6, eval_every=99, checkpoint_every=2)
    before = run.optimizer.step

    def step(*arguments):
        before(*arguments)
        if run.step + 1 == 4:
            run.model.final_norm.bias.array[0] = np.inf

    run.optimizer.step = step
    with pytest.raises(NonFiniteError, match="step 4: the weight final_norm.bias is not finite"):
        run.run(plan=False)
    assert find_checkpoint(tmp_path).step == 2


@pytest.mark.parametrize(
    "config, message",
    [
        ({"clip": math.inf}, r"config\['clip'\] is inf, which a checkpoint cannot hold"),
        ({"a": [1, {"b": math.nan}]}, r"config\['a'\]\[1\]\['b'\] is nan"),
        ({"a": {1, 2}}, r"config\['a'\] is \{1, 2\}.* store it as a text"),
    ],
)
def test_a_config_that_a_checkpoint_cannot_hold_is_refused_before_the_run(
    tmp_path, config, message
):
    run = trainer(tmp_path / "run", steps=2, config=config)
    with pytest.raises(ValueError, match=message):
        run.run()
    assert run.step == 0 and not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------- the disk
class Notes(PlainProgress):
    def __init__(self):
        super().__init__()
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def failing_fsync(monkeypatch, run, steps):
    real = os.fsync

    def fsync(handle):
        if run.step in steps:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_disk_that_is_full_for_a_while_does_not_stop_the_run(tmp_path, monkeypatch):
    notes = Notes()
    run = trainer(tmp_path, progress=notes)
    failing_fsync(monkeypatch, run, {4, 8})
    result = run.run(plan=False)
    assert find_checkpoint(tmp_path).step == result.step == 12
    full = [line for line in notes.lines if "disk is full" in line]
    assert len(full) == 2
    assert "the last one is" in full[0] and "tries again at step 8" in full[0]


def test_a_disk_that_stays_full_ends_with_one_line_and_the_last_good_checkpoint(
    tmp_path, monkeypatch
):
    run = trainer(tmp_path)
    failing_fsync(monkeypatch, run, {8, 12})
    with pytest.raises(
        StorageError, match="step 12 was not written: .*disk is full; the last one is .*4"
    ):
        run.run(plan=False)
    assert find_checkpoint(tmp_path).step == 4
    monkeypatch.undo()
    trainer(tmp_path).run(resume=True, plan=False)
    assert find_checkpoint(tmp_path).step == 12


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is a matter of Linux")
def test_metrics_survive_a_full_disk(tmp_path):
    from tinygrad_llm.training import Metrics

    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.log(step=1, loss=3.0)
    real, metrics._file = metrics._file, open("/dev/full", "ab", buffering=0)
    real.close()
    metrics.log(step=2, loss=2.0)
    metrics.log(step=3, loss=1.0)
    assert metrics.problem is not None and len(metrics.lines) == 3
    metrics.recover()
    assert metrics.problem is None and read_metrics(metrics.path) == metrics.lines


def test_a_torn_last_line_is_left_out_and_later_lines_are_forgotten(tmp_path):
    from tinygrad_llm.training import Metrics

    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"step": 3, "lo')
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    metrics = Metrics(path)
    metrics.truncate(1)
    metrics.log(step=2, loss=1.25)
    metrics.close()
    assert [line["loss"] for line in read_metrics(path)] == [2.0, 1.25]


# ------------------------------------------------------------------------------ plan and plot
@pytest.mark.parametrize("tied", [False, True])
def test_flops_count_what_a_token_is_multiplied_with(tied):
    shape = {"vocab_size": 50, "context_length": 16, "emb_dim": 12, "n_heads": 3, "n_layers": 5}
    model = small_gpt(**shape, tie_weights=tied, qkv_bias=True)
    # a block has 12·C² weights, the head V·C; attention sees half of 16 positions
    assert flops_per_token(model, 16) == 6 * (5 * 12 * 12**2 + 50 * 12) + 6 * 5 * 12 * 16


def test_the_plan_adds_up():
    run = trainer(steps=1000)
    plan = run.plan()
    assert plan.steps == 1000 and plan.tokens == 32000
    assert plan.parameters == sum(p.numel() for p in run.model.parameters())
    assert plan.weight_bytes == 4 * plan.parameters
    assert plan.peak_bytes > 3 * plan.weight_bytes  # gradients and two moments at least
    assert plan.flops == 32000 * flops_per_token(run.model, 8)
    assert run.measured.peak > 1e6
    assert plan.seconds >= 1000 * run.measured.seconds > 0


def test_utilization_is_shown_and_kept():
    """Once there is a plan, every step says which share of the machine's products it used."""
    out = io.StringIO()
    run = trainer(steps=3, progress=PlainProgress(0.0, out))
    run.run()
    shares = [line["mfu"] for line in run.metrics.lines if "loss" in line]
    assert len(shares) == 3 and all(0.0 < share < 1.5 for share in shares)
    assert len(re.findall(r" tokens/s  MFU \d+%  .+ left$", out.getvalue(), re.M)) == 3
    without = trainer(steps=2, progress=False)
    without.run(plan=False)
    assert all("mfu" not in line for line in without.metrics.lines)


def test_plots_of_nothing_of_little_and_of_much(tmp_path):
    many = [{"step": i, "tokens": 8 * i, "loss": 3.0 / i, "lr": 1e-3} for i in range(1, 400)]
    for lines in (
        [],
        [{"step": 0, "val_loss": 4.0}],
        many[:1],
        many + [{"step": 9, "val_loss": 1.0}],
    ):
        path = plot_losses(lines, tmp_path / "loss.png", "title")
        assert path.read_bytes().startswith(b"\x89PNG")
        path.unlink()


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_bad_settings_of_the_trainer_are_named():
    for name in ("steps", "accumulation", "eval_every", "checkpoint_every", "keep"):
        with pytest.raises(ValueError, match=f"{name} must be (at least|between) 1.*, got 0"):
            trainer(**{name: 0})


def test_a_terminal_gets_a_bar(tmp_path):
    import io

    from rich.console import Console

    from tinygrad_llm.training.progress import RichProgress

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    run = trainer(
        progress=RichProgress(console), sample=lambda model: "[bold]a sample", sample_every=4
    )
    run.run()
    shown = stream.getvalue()
    assert "12/12" in shown and "[bold]a sample" in shown and "parameters" in shown


def test_tensors_of_float32_stay_float32():
    run = trainer(steps=3)
    run.run()
    assert {p.array.dtype for p in run.model.parameters()} == {np.dtype(np.float32)}
    for state in run.optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor) and value.dim():
                assert value.array.dtype == np.float32
