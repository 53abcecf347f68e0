"""Files that PyTorch writes: every tensor and container is read, and nothing else."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.serialization import load, save  # noqa: E402
from tinygrad_llm.tensor import dtypes  # noqa: E402
from tinygrad_llm.weights.formats.torch_file import TorchFile, TorchFileError  # noqa: E402


def saved(obj, **options):
    """The bytes that torch.save writes."""
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    return buffer.getvalue()


def same(ours, theirs):
    """Whether what was loaded is what PyTorch saved: values, types, dtypes, strides."""
    if isinstance(theirs, torch.Tensor):
        return (
            isinstance(ours, tg.Tensor)
            and str(ours.dtype) == str(theirs.dtype)
            and tuple(ours.shape) == tuple(theirs.shape)
            and (ours.numel() == 0 or ours.stride() == theirs.stride())
            and ours.requires_grad == theirs.requires_grad
            and (type(ours) is tg.nn.Parameter) == (type(theirs) is torch.nn.Parameter)
            and repr(ours) == repr(theirs)
        )
    if isinstance(theirs, torch.dtype | torch.device | torch.Size):
        return repr(ours) == repr(theirs)
    if type(ours) is not type(theirs):
        return False
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs or (ours != ours and theirs != theirs)


@st.composite
def tensors(draw):
    """Tensors of every dtype, contiguous, transposed, sliced, expanded, empty, requiring grad."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = getattr(torch, draw(st.sampled_from([d.name for d in dtypes.ALL])))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = torch.from_numpy(np.asarray(rng.integers(0, 2, shape) * 1.5)).to(dtype)
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["transpose", "cut", "expand", "step", "select"]))
        if kind == "expand":
            x = x.expand(3, *x.shape)
        elif x.dim() == 0:
            continue
        elif kind == "transpose":
            x = x.transpose(0, -1)
        elif kind == "cut":
            x = x[1:]
        elif kind == "step":
            x = x[::2]
        elif x.shape[0]:
            x = x[-1]
    if dtype.is_floating_point:
        wish = draw(st.sampled_from(["none", "grad", "parameter"]))
        if wish == "grad":
            x = x.detach().requires_grad_()
        elif wish == "parameter":
            x = torch.nn.Parameter(x)
    return x


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([torch.float16, torch.int64, torch.bool, torch.device("cpu"),
                     torch.device("cuda", 1), torch.Size([2, 3]), torch.Size([])]),
    st.sets(st.integers(0, 9), max_size=3),
    tensors(),
)  # fmt: skip
structures = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=10,
)


@settings(max_examples=200)
@given(structures, st.sampled_from([2, 3, 4, 5]))
def test_what_torch_saves_comes_back(structure, protocol):
    data = saved(structure, pickle_protocol=protocol)
    assert same(load(io.BytesIO(data)), structure)


@given(tensors())
def test_mapped_into_memory(tmp_path_factory, x):
    path = tmp_path_factory.mktemp("files") / "x.pt"
    torch.save([x], path)
    before = path.read_bytes()
    loaded = load(path, mmap=True)
    assert same(loaded, [x])
    with tg.no_grad():
        if x.numel() and 0 not in x.stride():
            loaded[0].zero_()
    del loaded
    assert path.read_bytes() == before


def test_first_protocol():
    structure = {
        "a": torch.ones(2),
        "n": 2**80,
        "t": (1, 2, 3, 4),
        "b": True,
        "f": 0.5,
        "m": -70000,
    }
    assert same(load(io.BytesIO(saved(structure, pickle_protocol=1))), structure)


def test_tensors_of_one_storage_share_it():
    w = torch.arange(10.0)
    loaded = load(io.BytesIO(saved({"w": w, "part": w[2:6], "other": torch.ones(2), "again": w})))
    assert loaded["w"] is loaded["again"]
    loaded["w"][2] = 50
    assert loaded["part"][0].item() == 50
    assert loaded["other"].tolist() == [1.0, 1.0]


def test_modules_and_optimizers():
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Embedding(5, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model[:2](torch.ones(2, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    loaded = load(io.BytesIO(saved(state)))
    assert same(loaded, state)
    assert type(loaded["model"]) is OrderedDict


def test_weights_move_from_torch_to_here():
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
    ours = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.GELU(), tg.nn.Linear(4, 2))
    ours.load_state_dict(load(io.BytesIO(saved(theirs.state_dict()))))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        ours(tg.from_numpy(x)).detach().numpy(),
        theirs(torch.from_numpy(x)).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )


def test_attributes_and_buffers():
    marked = torch.ones(2)
    marked.note = "left out"
    p = torch.nn.Parameter(torch.ones(2))
    p.note = 1
    loaded = load(io.BytesIO(saved([marked, p, torch.nn.Buffer(torch.zeros(1))])))
    assert [x.tolist() for x in loaded] == [[1.0, 1.0], [1.0, 1.0], [0.0]]
    assert type(loaded[1]) is tg.nn.Parameter and not hasattr(loaded[0], "note")


def test_recursive_containers():
    a: dict = {"x": torch.ones(1)}
    a["self"] = a
    loaded = load(io.BytesIO(saved(a)))
    assert loaded["self"] is loaded and loaded["x"].tolist() == [1.0]


@pytest.mark.parametrize("name", ["complex64", "complex128", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_that_no_tensor_here_has(name):
    x = torch.ones(3).to(getattr(torch, name))
    data = saved({"odd": x})
    with pytest.raises(TorchFileError, match=rf"\['odd'\] is {name}"):
        load(io.BytesIO(data))
    array = TorchFile(io.BytesIO(data))["odd"]
    assert array.dtype.name == name and array.astype(np.complex64).tolist() == [1, 1, 1]


def test_bfloat16_without_ml_dtypes(monkeypatch):
    x = torch.tensor([1.5, -3.0, 1e38]).to(torch.bfloat16)
    data = saved({"a": x, "b": x[1:]})
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    file = TorchFile(io.BytesIO(data))
    a, b = file["a"], file["b"]
    assert a.dtype == np.float32 and a.tolist() == x.float().tolist()
    assert np.shares_memory(a, b) and b.tolist() == x[1:].float().tolist()


def test_without_checksums():
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        data = saved({"a": torch.arange(5)})
    finally:
        torch.serialization.set_crc32_options(before)
    assert load(io.BytesIO(data))["a"].tolist() == [0, 1, 2, 3, 4]


class Custom:
    pass


def hooked():
    x = torch.ones(1, requires_grad=True)
    x.register_hook(print)
    return x


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Custom, r"Custom"),
        (lambda: torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        (lambda: np.array([None]), r"a NumPy dtype 'O8'"),
        (lambda: np.array(["text"]), r"a NumPy dtype 'U4'"),
        (lambda: np.dtype("float32"), r"a NumPy dtype"),
        (lambda: torch.Generator().get_state, r"getattr|Generator"),
        (lambda: slice(1, 2), r"slice"),
        (lambda: range(3), r"range"),
        (lambda: torch.ones(2).to_sparse(), r"_rebuild_sparse_tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), r"qtensor|QUInt8"),
        (lambda: print, r"print"),
        (lambda: torch.float32.to_complex(), r"torch\.complex64 as a value"),
    ],
)
def test_refused_by_name(make, name):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = saved({"x": make()})
    except Exception as error:  # this PyTorch does not save it either
        pytest.skip(str(error))
    with pytest.raises(TorchFileError, match=name):
        load(io.BytesIO(data))


def test_the_old_format():
    data = saved({"a": torch.ones(2)}, _use_new_zipfile_serialization=False)
    with pytest.raises(TorchFileError, match="before PyTorch 1.6.*save it again"):
        load(io.BytesIO(data))


def test_a_torchscript_program():
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    buffer.seek(0)
    with pytest.raises(TorchFileError, match="TorchScript"):
        load(buffer)


@settings(max_examples=100)
@given(st.floats(0, 1, exclude_max=True))
def test_cut_short(share):
    data = saved({"a": torch.ones(100)})
    with pytest.raises(RuntimeError):
        load(io.BytesIO(data[: int(share * len(data))]))


@settings(max_examples=300)
@given(st.data())
def test_damage_is_an_error_or_a_value(data):
    """Byte code changed at random: TorchFileError or some value, and nothing runs."""
    whole = saved(
        {"a": torch.ones(2, 3).t(), "l": [1, "x"], "p": torch.nn.Parameter(torch.ones(1))}
    )
    source = zipfile.ZipFile(io.BytesIO(whole))
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            body = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                for _ in range(data.draw(st.integers(1, 4))):
                    at = data.draw(st.integers(0, len(body) - 1))
                    body[at] = data.draw(st.integers(0, 255))
            target.writestr(name, bytes(body))
    try:
        load(io.BytesIO(changed.getvalue()))
    except TorchFileError:
        pass


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numpy_values_that_torch_saves(protocol):
    values = [
        np.arange(6.0).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        np.float64(1.5),
        np.bool_(1),
        np.zeros((0, 2), np.float16),
        np.array(7, ">i8"),
        {"seed": np.uint32([1, 2])},
    ]
    loaded = load(io.BytesIO(saved(values, pickle_protocol=protocol)))
    for ours, theirs in zip(loaded, values, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(theirs, dict):
            ours, theirs = ours["seed"], theirs["seed"]
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


# ------------------------------------------------------------------ files from here in PyTorch
def theirs_of(ours, trust=False, **options):
    """What PyTorch loads of a file from here."""
    buffer = io.BytesIO()
    save(ours, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=not trust, **options)


@settings(max_examples=200)
@given(structures)
def test_what_is_saved_here_comes_back_in_torch(structure):
    """Through PyTorch's file and ours: with weights_only=True, all types and numbers are the same.

    Strides are not: a tensor is written in row-major order.
    """

    def contiguous(value):
        if isinstance(value, torch.nn.Parameter):
            return torch.nn.Parameter(
                value.detach().clone(memory_format=torch.contiguous_format), value.requires_grad
            )
        if isinstance(value, torch.Tensor):
            return (
                value.detach()
                .clone(memory_format=torch.contiguous_format)
                .requires_grad_(value.requires_grad)
            )
        if isinstance(value, dict):
            return type(value)((k, contiguous(v)) for k, v in value.items())
        if type(value) in (list, tuple):
            return type(value)(map(contiguous, value))
        return value

    ours = load(io.BytesIO(saved(structure)))
    theirs = theirs_of(ours, map_location="cpu")
    assert same(load(io.BytesIO(saved(theirs))), contiguous(structure))


def test_tied_weights_and_shared_objects_in_torch():
    w, row = tg.ones(2, 3), [1]
    loaded = theirs_of({"a": w, "b": w, "c": w.view(2, 3), "rows": (row, row)})
    loaded["a"][0, 0] = 5.0
    assert loaded["b"][0, 0] == loaded["c"][0, 0] == 5.0
    assert loaded["rows"][0] is loaded["rows"][1]


def test_a_whole_training_state_in_torch(tmp_path):
    """A checkpoint of a run here continues in PyTorch with the same numbers."""
    ours = tg.nn.Linear(3, 2)
    optimizer = tg.optim.AdamW(ours.parameters(), lr=0.1)

    def step(torch, model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).pow(2).sum().backward()
        optimizer.step()

    step(tg, ours, optimizer)
    tg.save({"model": ours.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "ckpt.pt")
    checkpoint = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    theirs = torch.nn.Linear(3, 2)
    theirs.load_state_dict(checkpoint["model"])
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.7)
    their_optimizer.load_state_dict(checkpoint["optimizer"])
    step(tg, ours, optimizer)
    step(torch, theirs, their_optimizer)
    np.testing.assert_allclose(
        ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-6
    )


def test_torch_maps_our_file_into_memory(tmp_path):
    tg.save({"w": tg.arange(1000.0), "n": tg.arange(7)}, tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", weights_only=True, mmap=True)
    assert loaded["w"].tolist() == list(range(1000)) and loaded["n"].tolist() == list(range(7))


def test_what_torch_reads_when_it_is_trusted():
    values = {"f": frozenset({1, 2}), "a": np.arange(3.0), "s": np.float32(2.5), "t": np.eye(2).T}
    loaded = theirs_of(values, trust=True)
    assert loaded["f"] == values["f"] and loaded["s"] == values["s"]
    np.testing.assert_array_equal(loaded["a"], values["a"])


@pytest.mark.parametrize(
    "n", [0, 255, 256, 65535, 65536, -1, 2**31, -(2**31), -(2**31) - 1, 2**1999]
)
def test_whole_numbers_in_torch(n):
    assert theirs_of([n]) == [n]
