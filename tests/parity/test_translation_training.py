"""Training an encoder-decoder beside PyTorch's nn.Transformer: batches, dropout, rates, losses."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from benchmarks.translation import apart, main, prepared, side_by_side, twice  # noqa: E402

SMALL = {"data": "sample", "emb_dim": 16, "n_heads": 2, "n_layers": 1, "batch_tokens": 300}


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("changes", [{}, {"shared": True, "norm_first": True}])
def test_losses_of_the_first_steps(changes, float64):
    """The same weights, batches, dropout masks, label smoothing, rates and clipping."""
    run = prepared({**SMALL, "steps": 10, **changes}, float64)
    losses = side_by_side(run, 10, seed=7)["losses"]
    assert losses["ours"][0] > losses["ours"][-1]
    for ours, theirs in zip(losses["ours"], losses["torch"], strict=True):
        assert abs(ours - theirs) < (1e-9 if float64 else 1e-4)


@pytest.mark.slow
@pytest.mark.ci
def test_a_hundred_losses_differ_by_rounding_alone():
    """In float64 they agree to 1e-10: what float32 adds is rounding (benchmarks/TRANSLATION.md)."""
    run = prepared({**SMALL, "steps": 100}, float64=True)
    losses = side_by_side(run, 100, seed=7)["losses"]
    assert losses["ours"][-1] < 0.9 * losses["ours"][0] and apart(losses) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("sides", [side_by_side, twice])
def test_a_hundred_losses_in_float32(sides):
    """Ours is as near to PyTorch as PyTorch is to itself when its weights begin one bit away."""
    run = prepared({**SMALL, "steps": 100})
    assert apart(sides(run, 100, seed=7)["losses"]) < 1e-5


@pytest.mark.parametrize("keys", [8, 5])
def test_dropout_of_attention_weights_that_have_the_shape_of_the_queries(keys):
    """Queries that lie in another order in memory do not change which weights are dropped."""
    B, H, D = 4, 3, 8
    x = torch.randn(B, 8, 3 * H, D, generator=torch.Generator().manual_seed(0))
    theirs = x.transpose(1, 2).split(H, 1)
    ours = tg.from_numpy(x.numpy()).transpose(1, 2).split(H, 1)
    torch.manual_seed(1)
    tg.manual_seed(1)
    expected = torch.nn.functional.scaled_dot_product_attention(
        theirs[0], theirs[1][:, :, :keys], theirs[2][:, :, :keys], dropout_p=0.4
    )
    y = tg.nn.functional.scaled_dot_product_attention(
        ours[0], ours[1][:, :, :keys], ours[2][:, :, :keys], dropout_p=0.4
    )
    assert (y - tg.from_numpy(expected.numpy())).abs().max().item() < 1e-5


# ---------------------------------------------------------------------- the command of benchmarks
def losses_of(tmp_path, *options):
    """Both sides' losses of three steps of `python -m benchmarks translation` on a small model."""
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    file = tmp_path / "losses.json"
    main([*sizes, "--steps", "3", "--json", str(file), *options])
    losses = json.loads(file.read_text())["losses"]
    assert len(losses["ours"]) == 3
    return losses


@pytest.mark.parametrize("form", ["steps", "twice"])
def test_the_seed_decides_weights_batches_and_dropout_of_both_sides(tmp_path, form):
    first, again, other = (
        losses_of(tmp_path, "--run", form, "--seed", seed) for seed in ("5", "5", "6")
    )
    assert first == again
    for side in ("ours", "torch"):
        assert all(abs(a - b) > 1e-4 for a, b in zip(first[side], other[side], strict=True))
    assert apart(other) < 1e-5


def test_the_seed_that_is_not_given_is_the_recipes(tmp_path):
    assert losses_of(tmp_path) == losses_of(tmp_path, "--seed", "123")


def test_a_cpu_is_the_device_that_is_not_given(tmp_path):
    assert losses_of(tmp_path, "--device", "cpu") == losses_of(tmp_path)


def test_a_whole_run_takes_the_seed_too(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.translation.translated", lambda run: {"scores": {}})
    results = []
    for run, seed in (("ours", "5"), ("ours", "6"), ("torch", "5"), ("torch", "6")):
        file = tmp_path / f"{run}-{seed}.json"
        sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
        main([*sizes, "--epochs=0.05", "--run", run, "--seed", seed, "--json", str(file)])
        results.append(json.loads(file.read_text())["losses"][-1])
    ours, other, theirs, their_other = results
    assert abs(ours - other) > 1e-4 and abs(theirs - their_other) > 1e-4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--device cuda", "each side draws its own dropout masks: add --drop-rate 0"),
        ("--device cuda --run twice --drop-rate 0.1", "add --drop-rate 0"),
        ("--device tpu", "device must be"),
        ("--seed -1", "seed must be 0 or more"),
        ("--seed x", "argument --seed: invalid int value: 'x'"),
        ("--steps 0", "argument --steps: 1 or more"),
        ("--threads 0", "argument --threads: 1 or more"),
        ("--n-heads 3", "emb_dim 16 must be a multiple of n_heads 3"),
        ("--compare none.json none.json", "none.json is not a file that `--run ours` or"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_sentence(capsys, options, words):
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    with pytest.raises(SystemExit) as end:
        main([*sizes, *options.split()])
    assert end.value.code == 2 and words in capsys.readouterr().err
