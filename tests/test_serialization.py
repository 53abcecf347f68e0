"""save and load: what goes in comes out, damage is noticed, and nothing in a file is run."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch_zip
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
import tinygrad_llm.nn as nn
from tinygrad_llm.serialization import load, save
from tinygrad_llm.tensor import dtypes
from tinygrad_llm.weights.formats.torch_file import TorchFile, TorchFileError

X = np.arange(6, dtype=np.float32)


def through(obj, **options):
    """What comes back after a trip through a file's bytes."""
    buffer = io.BytesIO()
    save(obj, buffer)
    buffer.seek(0)
    return load(buffer, **options)


def same(a, b):
    """Whether two structures are equal to the last bit and type."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tg.Tensor):
        x, y = a.array, b.array
        return (
            x.shape == y.shape
            and x.dtype == y.dtype
            and x.tobytes() == y.tobytes()
            and a.requires_grad == b.requires_grad
        )
    if isinstance(a, np.ndarray | np.generic):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


# ------------------------------------------------------------------------------- there and back
def drawn_tensor(seed, name, shape):
    values = np.random.default_rng(seed).integers(0, 2, shape) * 1.5
    return tg.from_numpy(np.asarray(values).astype(dtypes.BY_NAME[name].numpy))


tensors = st.builds(
    drawn_tensor,
    st.integers(0, 99),
    st.sampled_from([d.name for d in dtypes.ALL]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([*dtypes.ALL, tg.device("cpu"), tg.device("cuda:1"), tg.Size([2, 3])]),
    st.sampled_from([np.float32(2.5), np.int8(-3), np.arange(3), np.zeros((0, 2))]),
    st.builds(bytearray, st.binary(max_size=3)),
    st.sets(st.integers(), max_size=3),
    st.frozensets(st.text(max_size=2), max_size=3),
    tensors,
)
keys = st.one_of(
    st.sampled_from(["$type", "$tensor", "name", "a.b", "a"]),
    st.text(max_size=3),
    st.integers(),
    st.booleans(),
    st.tuples(st.integers(), st.text(max_size=1)),
)
structures = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=10,
)


@settings(max_examples=150)
@given(structures)
def test_there_and_back(structure):
    assert same(through(structure), structure)


def test_a_whole_training_state(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.1)
    model(tg.ones(2, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "model_and_optimizer.pth"
    tg.save(
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()},
        path,
    )
    checkpoint = tg.load(path, map_location="cpu", weights_only=True)
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    other.load_state_dict(checkpoint["model_state_dict"])
    state = tg.optim.AdamW(other.parameters(), lr=0.5)
    state.load_state_dict(checkpoint["optimizer_state_dict"])
    assert state.param_groups[0]["lr"] == 0.1
    x = tg.ones(1, 3)
    assert tg.equal(other(x), model(x))


def test_the_file_is_an_archive_of_aligned_storages(tmp_path):
    """So that PyTorch and we can map them into memory; equal values make equal files."""
    model = nn.Linear(3, 2)
    for name in ("a", "b"):
        save(model.state_dict(), tmp_path / name)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.testzip() is None
        names = [entry.filename for entry in archive.infolist()]
        for entry in archive.infolist():
            raw = archive.read(entry)
            if "/data/" in entry.filename:
                assert data.index(raw) % 64 == 0
    assert names == [
        f"archive/{n}" for n in ("data.pkl", "byteorder", "data/0", "data/1", "version")
    ]


def test_another_safetensors_file_is_a_dict_of_tensors(tmp_path):
    from tinygrad_llm.weights import save_file

    save_file({"a": X, "b": X[:2]}, tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors")
    assert set(loaded) == {"a", "b"} and tg.equal(loaded["a"], tg.from_numpy(X))
    loaded["a"][0] = 7  # writable


def test_tied_weights_are_stored_once_and_tied_again(tmp_path):
    w = tg.ones(1000, 10)
    save({"embedding": w, "head": w, "transposed": w.t()}, tmp_path / "tied.pth")
    assert (tmp_path / "tied.pth").stat().st_size < 2.5 * 40_000
    loaded = load(tmp_path / "tied.pth")
    loaded["embedding"][0, 0] = 5
    assert loaded["head"][0, 0].item() == 5
    assert loaded["transposed"].shape == (10, 1000)


def test_parameters_and_requires_grad():
    p = nn.Parameter(tg.ones(2))
    frozen = nn.Parameter(tg.ones(2), requires_grad=False)
    loaded = through([p, frozen, tg.ones(1, requires_grad=True), p * 2])
    assert isinstance(loaded[0], nn.Parameter) and loaded[0].requires_grad
    assert isinstance(loaded[1], nn.Parameter) and not loaded[1].requires_grad
    assert loaded[2].requires_grad and type(loaded[2]) is tg.Tensor
    assert loaded[3].is_leaf and loaded[3].requires_grad


def test_strided_tensors_keep_their_numbers():
    x = tg.arange(24).reshape(2, 3, 4)
    for view in (x.permute(2, 0, 1), x[:, ::2], x[0, 0].expand(3, 4), x[..., 1:3]):
        assert tg.equal(through(view), view)


def test_map_location(device):
    x = tg.ones(2).to(device)
    moved = through({"x": x}, map_location="cpu")["x"]
    assert moved.device.type == "cpu" and moved.tolist() == [1.0, 1.0]
    assert through(tg.ones(2), map_location=tg.device(device)).device.type == device
    assert through(x, map_location={"cuda:0": "cpu"}).device.type == "cpu"
    assert through(x, map_location=lambda tensor, location: tensor).device.type == "cpu"


# ---------------------------------------------------------------------------------------- errors
class Custom:
    pass


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (nn.Linear(2, 2), r"obj is a Linear.*state_dict\(\)"),
        ({"a": [1, {"b": Custom()}]}, r"a\.1\.b is a Custom"),
        (lambda: 1, "function"),
        ({"layer": nn.ReLU()}, "layer is a ReLU"),
    ],
)
def test_what_cannot_be_saved_is_named(obj, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        save(obj, tmp_path / "x.pth")
    assert os.listdir(tmp_path) == []


def test_a_structure_that_holds_itself():
    loop: list = [1]
    loop.append({"loop": loop, "pair": (loop, loop)})
    loaded = through(loop)
    assert loaded[0] == 1 and loaded[1]["loop"] is loaded
    assert all(part is loaded for part in loaded[1]["pair"])


def test_objects_at_several_places_are_one_object_again():
    x, row, pair = tg.ones(3), [1, 2], (1, [2])
    loaded = through({"a": x, "b": x, "row": row, "rows": [row, row], "pairs": (pair, pair)})
    assert loaded["a"] is loaded["b"]
    assert loaded["row"] is loaded["rows"][0] is loaded["rows"][1]
    assert loaded["pairs"][0] is loaded["pairs"][1]


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array(True),
        np.zeros((0, 2)),
        np.float32(1.5), np.int64(-3), np.bool_(True), np.arange(3, dtype=">i4"), np.complex64(1j),
        np.arange(4, dtype=np.float16)[::2], {np.str_("a").item(): np.uint8(7)},
    ],
    ids=repr,
)  # fmt: skip
def test_numpy_arrays(value):
    loaded = through(value)
    assert type(loaded) is type(value)
    if isinstance(value, np.ndarray):
        assert loaded.dtype == value.dtype.newbyteorder("=") and loaded.flags.writeable
        np.testing.assert_array_equal(loaded, value)
    else:
        assert loaded == value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.array(["a"]), TypeError), (np.array([None]), TypeError), ({np.int64(1): 2}, ValueError),
        ({((1,),): 2}, ValueError), ({1, ((2,),)}, ValueError), (range(3), TypeError),
    ],
    ids=repr,
)  # fmt: skip
def test_values_without_a_form(value, error):
    with pytest.raises(error, match=r"save\(\)"):
        save(value, io.BytesIO())


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.pth"
    save({"v": 1}, path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save({"v": 2}, path)
    assert load(path) == {"v": 1} and os.listdir(tmp_path) == ["x.pth"]


def test_paths(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory .*nowhere does not exist"):
        save(1, tmp_path / "nowhere" / "x.pth")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.pth")
    save([1], str(tmp_path / "x.pth"))
    assert load(str(tmp_path / "x.pth")) == [1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither by save"),
        (b"junk" * 10, "neither by save"),
        (b"\x80\x04K\x01.", "is a pickle"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.more", "before PyTorch 1.6"),
        (b"PK\x03\x04" + b"\0" * 40, "cut short or damaged"),
    ],
)
def test_other_files_are_refused(data, words, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(RuntimeError, match=words):
        load(path)
    with pytest.raises(RuntimeError, match=words):
        load(io.BytesIO(data))


@settings(max_examples=100)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_noticed(share):
    buffer = io.BytesIO()
    save({"a": tg.ones(20), "b": [1, 2.5, "x"]}, buffer)
    data = buffer.getvalue()
    with pytest.raises(RuntimeError):
        load(io.BytesIO(data[: int(share * len(data))]))


def first_form(structure, arrays=None):
    """The bytes of a file that `save` wrote before it wrote PyTorch's form."""
    from tinygrad_llm.weights import save as safetensors

    return safetensors(arrays or {}, {"tinygrad_llm.structure": json.dumps(structure)})


def test_files_of_the_first_form():
    def kind(of, **fields):
        return {"$dict": [["$type", of], *([name, value] for name, value in fields.items())]}

    structure = {
        "w": kind("Parameter", name="w", requires_grad=True),
        "again": kind("Tensor", name="w"),
        "array": kind("array", name="w"),
        "scalar": kind("scalar", name="s"),
        "pairs": kind("dict", items=[[1, "one"], [{"$tuple": [2, "b"]}, {"$float": "inf"}]]),
        "ordered": kind("OrderedDict", items=[["a", {"$bytes": "00ff"}]]),
        "set": kind("set", items=[1, 2]),
        "size": kind("Size", items=[2, 3]),
        "device": kind("device", name="cpu"),
        "dtype": kind("dtype", name="bfloat16"),
        "complex": kind("complex", real=1.0, imag=-2.0),
        "bytes": kind("bytearray", data={"$bytes": "07"}),
    }
    loaded = load(io.BytesIO(first_form(structure, {"w": X, "s": np.float32(2)})))
    assert isinstance(loaded["w"], nn.Parameter) and loaded["w"].tolist() == X.tolist()
    loaded["w"].array[0] = 9.0
    assert loaded["again"][0].item() == 9.0, "tied, as it was"
    assert loaded["array"].tolist() == loaded["again"].tolist() and loaded["scalar"] == 2
    assert loaded["pairs"] == {1: "one", (2, "b"): math.inf}
    assert loaded["ordered"] == OrderedDict(a=b"\x00\xff") and loaded["set"] == {1, 2}
    assert loaded["size"] == tg.Size([2, 3]) and loaded["device"] == tg.device("cpu")
    assert loaded["dtype"] == tg.bfloat16 and loaded["complex"] == 1 - 2j
    assert loaded["bytes"] == bytearray(b"\x07")


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_structure_is_an_error_or_a_value(data):
    """For any bytes in the header, the only error is RuntimeError."""
    pairs = {"$dict": [["$type", "set"], ["items", [1]]]}
    raw = bytearray(first_form({"a": pairs, "b": {"$tuple": [{"$float": "nan"}]}}, {"w": X}))
    header = int.from_bytes(raw[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(8, 8 + header - 1))] = data.draw(st.integers(32, 126))
    try:
        load(io.BytesIO(bytes(raw)))
    except RuntimeError:
        pass


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_archive_is_an_error_or_a_value(data):
    """For any bytes in the file, the only error is RuntimeError."""
    buffer = io.BytesIO()
    save({"a": tg.ones(2), "s": tg.Size([1]), 3: {1}, "o": OrderedDict(x=b"y"), "n": X}, buffer)
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        load(io.BytesIO(bytes(raw)))
    except RuntimeError:
        pass


def test_an_unknown_kind_of_value(tmp_path):
    from tinygrad_llm.weights import save_file

    structure = json.dumps({"$dict": [["$type", "Dragon"], ["name", "x"]]})
    save_file({"x": X}, tmp_path / "x", {"tinygrad_llm.structure": structure})
    with pytest.raises(RuntimeError, match="Dragon"):
        load(tmp_path / "x")


# --------------------------------------------------------------------- PyTorch's files, by hand
def test_a_hand_made_torch_file(tmp_path):
    data = torch_zip.archive(
        {
            "weights": [
                torch_zip.tensor("0", "float32", 6, 0, (2, 3), (3, 1)),
                torch_zip.tensor("0", "float32", 6, 1, (2,), (3,)),
            ],
            "text": "höhe",
            "number": 2.5,
            "nothing": (None, True, -7),
        },
        {"0": X},
    )
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    for source, mmap in ((path, False), (path, True), (io.BytesIO(data), False)):
        loaded = load(source, mmap=mmap)
        assert loaded["text"] == "höhe" and loaded["nothing"] == (None, True, -7)
        first, second = loaded["weights"]
        assert first.tolist() == X.reshape(2, 3).tolist() and second.tolist() == [1.0, 4.0]
        second[0] = 50
        assert first[0, 1].item() == 50  # one storage, as it was
    assert path.read_bytes() == data  # a mapped file is not written to


def test_storages_are_read_when_touched(tmp_path):
    path = tmp_path / "model.pth"
    sizes = {"a": (2, 3), "b": (4,)}
    data = torch_zip.archive(
        {
            "a": torch_zip.tensor("0", "float32", 6, 0, (2, 3), (3, 1)),
            "b": torch_zip.tensor("1", "float32", 4, 0, (4,), (1,)),
        },
        {"0": X, "1": X[:2]},  # the second is too short
    )
    path.write_bytes(data)
    file = TorchFile(path)
    assert {name: t.shape for name, t in file.tree.items()} == sizes
    assert list(file) == ["a", "b"] and len(file) == 2
    assert file["a"].tolist() == X.reshape(2, 3).tolist()
    with pytest.raises(TorchFileError, match="storage 1 has 8 bytes, too few for 4 numbers"):
        file["b"]


@pytest.mark.parametrize(
    ("instructions", "name"),
    [
        (torch_zip.symbol("os", "system") + torch_zip.code(("echo hacked > hacked",)) + b"R",
         r"os\.system"),
        (torch_zip.symbol("builtins", "eval") + torch_zip.code(("1/0",)) + b"R", r"builtins\.eval"),
        (torch_zip.symbol("torch", "load") + torch_zip.code(("x",)) + b"R", r"torch\.load"),
        (torch_zip.symbol("__main__", "Model") + b")\x81", r"__main__\.Model"),
        (torch_zip.text("builtins") + torch_zip.text("exec") + b"\x93", r"builtins\.exec"),
        (torch_zip.symbol("collections", "OrderedDict") + b")\x81", "OrderedDict.*NEWOBJ"),
        (torch_zip.symbol("torch", "FloatStorage"), r"torch\.FloatStorage as a value"),
        (torch_zip.symbol("torch", "FloatStorage") + b")R", "is called like a function"),
        (torch_zip.text("x") + b")R", "a str is called"),
        (torch_zip.code({}) + torch_zip.code({"a": 1}) + b"b", "attributes are set on a dict"),
        (b"(ios\nsystem\no", "INST"),
        (b"\x82\x01", "instruction 0x82"),
        (torch_zip.symbol("builtins", "bytearray") + torch_zip.code((10**9,)) + b"R",
         "bytes made of 1000000000 by"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_by_name(instructions, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TorchFileError, match=name):
        load(io.BytesIO(torch_zip.archive(instructions)))
    assert os.listdir(tmp_path) == []


def test_no_pickle_in_the_package():
    """Nothing imports pickle, nor what is built on it, nor runs text that it has read."""
    import ast
    from pathlib import Path

    package = Path(tg.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {"pickle", "_pickle", "marshal", "shelve", "dill"} & set(names), path


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((7,), (1,), 0), ((2, 3), (3, 1), 1), ((2,), (6,), 0), ((2,), (-1,), 3), ((2, 3), (1,), 0)],
)
def test_tensors_outside_their_storage(shape, strides, offset):
    stored = torch_zip.tensor("0", "float32", 6, offset, shape, strides)
    with pytest.raises(TorchFileError, match="a tensor of shape"):
        TorchFile(io.BytesIO(torch_zip.archive([stored], {"0": X})))


def test_damaged_archives():
    stored = torch_zip.tensor("0", "float32", 6, 0, (6,), (1,))
    good = torch_zip.archive([stored], {"0": X})
    with pytest.raises(TorchFileError, match=r"data/0 is not in the archive"):
        load(io.BytesIO(torch_zip.archive([stored])))
    with pytest.raises(TorchFileError, match="compressed"):
        load(io.BytesIO(torch_zip.archive([stored], {"0": X}, compression=zipfile.ZIP_DEFLATED)))
    with pytest.raises(TorchFileError, match="TorchScript"):
        load(io.BytesIO(torch_zip.archive([stored], {"0": X}, more={"constants.pkl": b""})))
    wrong = bytearray(good)
    wrong[good.index(X.tobytes())] ^= 1
    with pytest.raises(TorchFileError, match=r"checksum of archive/data/0"):
        load(io.BytesIO(bytes(wrong)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(TorchFileError, match="without data.pkl"):
        load(io.BytesIO(buffer.getvalue()))


def test_the_other_byte_order():
    big = X.astype(">f4")
    stored = torch_zip.tensor("0", "float32", 6, 1, (2,), (2,))
    data = torch_zip.archive([stored], {"0": big}).replace(b"little", b"big\0\0\0")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + torch_zip.code([stored]) + b".")
        file.writestr("a/byteorder", "big")
        file.writestr("a/data/0", big.tobytes())
    assert data and load(io.BytesIO(buffer.getvalue()))[0].tolist() == [1.0, 3.0]


@settings(max_examples=500)
@given(st.data())
def test_damaged_byte_code_is_an_error_or_a_value(data):
    """Bytes changed at random: never another error than TorchFileError, never a hang."""
    stored = torch_zip.tensor("0", "float32", 6, 0, (2, 3), (3, 1))
    body = bytearray(torch_zip.code({"w": stored, "n": [1, (2, 3.5)], "t": "text", "b": True}))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        load(io.BytesIO(torch_zip.archive(bytes(body), {"0": X})))
    except TorchFileError:
        pass


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_random_byte_code_is_an_error_or_a_value(body):
    try:
        load(io.BytesIO(torch_zip.archive(body)))
    except TorchFileError:
        pass
