"""Anomaly detection says which op's backward returned NaN first, as PyTorch does."""

import warnings

import pytest

import tinygrad_llm
from tinygrad_llm.autograd import anomaly_mode, detect_anomaly, set_detect_anomaly
from tinygrad_llm.autograd.engine import backward_observers, observers

real = pytest.importorskip("torch")
CASES = {
    "sqrt at 0": lambda t, x: x.sqrt() * 0,
    "log": lambda t, x: (x * 0).log() * 0,
    "0 · inf": lambda t, x: (x / 0) * (x * 0),
    "power": lambda t, x: (x - 1) ** 0.5 * 0,
    "atan-like division": lambda t, x: (x * 0) / (x * 0),
    "norm": lambda t, x: (x.sqrt().sum() * 0).exp(),
    "softmax": lambda t, x: t.softmax(x / 0 - x / 0, 0) * x,
    "where": lambda t, x: t.where(x > 0.5, x, x.sqrt() * 0),
}


@pytest.fixture(autouse=True)
def off_afterwards():
    yield
    set_detect_anomaly(False)
    assert anomaly_mode._refuse_nan not in backward_observers
    assert anomaly_mode._note_call not in observers


def error_of(torch, case):
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with (
        torch.autograd.set_detect_anomaly(True),
        warnings.catch_warnings(record=True) as seen,
        pytest.raises(RuntimeError) as raised,
    ):
        warnings.simplefilter("always")
        case(torch, x).sum().backward()
    return str(raised.value), " ".join(str(w.message) for w in seen)


@pytest.mark.parametrize("name", CASES)
def test_the_op_that_pytorch_names(name):
    ours, shown = error_of(tinygrad_llm, CASES[name])
    theirs, _ = error_of(real, CASES[name])
    assert ours == theirs
    assert "Traceback of forward call" in shown and "test_anomaly.py" in shown
    assert "tinygrad_llm/" not in shown.replace("tinygrad_llm/tests", "")


def nan_loss():
    x = tinygrad_llm.zeros(2, requires_grad=True)
    return x, (x.sqrt() * 0).sum()


def test_forward_outside():
    _, loss = nan_loss()
    with (
        detect_anomaly(),
        pytest.warns(UserWarning, match="No forward pass information"),
        pytest.raises(RuntimeError, match=r"Function 'SqrtBackward0' returned nan"),
    ):
        loss.backward()


def test_on_and_off():
    assert not anomaly_mode.is_anomaly_enabled()
    set_detect_anomaly(True)
    assert anomaly_mode.is_anomaly_enabled()
    with set_detect_anomaly(False):
        x, loss = nan_loss()
        loss.backward()
        assert x.grad.isnan().all()
    assert anomaly_mode.is_anomaly_enabled()
    with detect_anomaly(check_nan=False):
        assert not anomaly_mode.is_anomaly_check_nan_enabled()
        nan_loss()[1].backward()
    assert anomaly_mode.is_anomaly_check_nan_enabled()
    set_detect_anomaly(False)
    assert not anomaly_mode.is_anomaly_enabled()


def test_a_good_step_is_the_same():
    layer = tinygrad_llm.nn.Linear(3, 2)
    x = tinygrad_llm.ones(4, 3)
    layer(x).sum().backward()
    before = layer.weight.grad.clone()
    layer.zero_grad()
    with detect_anomaly():
        layer(x).sum().backward()
    assert tinygrad_llm.equal(layer.weight.grad, before)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
def test_other_dtypes(name):
    x = tinygrad_llm.zeros(2).to(getattr(tinygrad_llm, name)).requires_grad_()
    with detect_anomaly(), pytest.warns(UserWarning), pytest.raises(RuntimeError, match="nan"):
        (x.sqrt() * 0).sum().backward()
