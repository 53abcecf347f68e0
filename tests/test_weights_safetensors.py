"""safetensors files against the reference implementation, and files that are broken."""

import io
import json
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_llm as tg
from tinygrad_llm import nn, weights
from tinygrad_llm.files.atomic import atomic_write
from tinygrad_llm.weights import (
    SafeTensorsError,
    SafeTensorsFile,
    load_model,
    pack,
    save_file,
    unpack,
)
from tinygrad_llm.weights.formats.numbers import EXTENDED

reference = pytest.importorskip("safetensors.numpy")

PLAIN = "bool u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8".split()


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


ARRAYS = st.sampled_from(PLAIN).flatmap(
    lambda code: hnp.arrays(code, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda s: s != "__metadata__")


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, ARRAYS, max_size=5), st.dictionaries(NAMES, NAMES, max_size=2))
def test_both_implementations_read_what_either_wrote(arrays, metadata):
    ours = weights.save(arrays, metadata)
    theirs = reference.save(arrays, metadata)
    for name, array in arrays.items():
        for data in (ours, theirs):
            assert same(weights.load(data)[name], array)
        # the reference library gives complex arrays and all others back from our bytes
        assert same(reference.load(ours)[name], array)
    assert list(weights.load(ours)) == list(arrays)
    assert SafeTensorsFile.from_bytes(ours).metadata == metadata


@given(ARRAYS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_any_memory_layout_is_stored_by_value(array, random):
    axes = list(range(array.ndim))
    random.shuffle(axes)
    strided = array.transpose(axes)[
        tuple(slice(None, None, random.choice([1, 2, -1])) for _ in axes)
    ]
    for view in (
        strided,
        np.broadcast_to(array, (2, *array.shape)),
        array.astype(array.dtype.newbyteorder(">")),
    ):
        back = reference.load(weights.save({"x": view}))["x"]
        assert back.shape == view.shape and np.array_equal(
            back, view, equal_nan=view.dtype.kind in "fc"
        )


@pytest.mark.parametrize("name", sorted(EXTENDED))
def test_small_floats_come_back_bit_for_bit(name, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name))
    array = np.arange(256, dtype=f"u{dtype.itemsize}").reshape(4, 64).view(dtype)
    weights.save_file({"x": array, "y": np.ones(3, np.float32)}, tmp_path / "x.safetensors")
    assert same(weights.load_file(tmp_path / "x.safetensors")["x"], array)
    assert SafeTensorsFile(tmp_path / "x.safetensors").shape("x") == (4, 64)


def test_bfloat16_without_ml_dtypes_is_widened_exactly(monkeypatch):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    every = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16)
    data = weights.save({"x": every, "f8": np.zeros(2, ml_dtypes.float8_e5m2)})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    file = SafeTensorsFile.from_bytes(data)
    np.testing.assert_array_equal(file["x"], every.astype(np.float32))
    assert file["x"].dtype == np.float32 and file.dtype("x") == "BF16"
    with pytest.raises(SafeTensorsError, match="pip install ml_dtypes"):
        file["f8"]


def test_reading_is_lazy_aligned_and_read_only(tmp_path):
    path = tmp_path / "x.safetensors"
    weights.save_file({"a": np.ones(3, np.int8), "b": np.arange(5.0)}, path)
    file = SafeTensorsFile(path)
    assert file["b"].flags.aligned and np.shares_memory(file["b"], file._data)
    with pytest.raises(ValueError, match="read-only"):
        file["b"][0] = 1
    owned = weights.load_file(path)["b"]
    owned[0] = 7
    assert file["b"][0] == 0 and not np.shares_memory(owned, file._data)


def test_unaligned_files_of_other_writers_are_read(tmp_path):
    header = json.dumps({"x": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}).encode()
    header += b" " * (1 - len(header) % 8)
    values = np.array([1.5, -2.5])
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    array = SafeTensorsFile(path)["x"]
    assert array.flags.aligned and array.tolist() == [1.5, -2.5]


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def spec(begin, end, dtype="F32", shape=(1,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "8 at least"),
        (b"1234567", "8 at least"),
        (b"\xff" * 64, "cut short, or not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (file_of(b"not json"), "not JSON"),
        (file_of(b"\xff\xfe"), "not UTF-8"),
        (file_of(b"[1]"), "not a JSON object"),
        (file_of(b'{"a":1,"a":2}'), "twice"),
        (file_of({"a": 3}), "lacks a dtype"),
        (
            file_of({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
            "a dimension of size -1",
        ),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}), "lacks a dtype"),
        (file_of({"a": spec(0, 4, "F4")}, b"1234"), "F4, which is not supported"),
        (file_of({"a": spec(0, 8)}, b"12345678"), "takes 4 bytes, but the header gives it 8"),
        (file_of({"a": spec(0, 4)}, b"123"), "cut short"),
        (file_of({"a": spec(0, 4)}, b"12345"), "left over"),
        (file_of({"a": spec(4, 8)}, b"12345678"), "gap"),
        (file_of({"a": spec(0, 4), "b": spec(0, 4)}, b"1234"), "overlaps"),
    ],
)
def test_broken_files_are_named(data, message, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(data)
    with pytest.raises(SafeTensorsError, match=message) as error:
        SafeTensorsFile(path)
    assert "broken.safetensors" in str(error.value)
    with pytest.raises(SafeTensorsError, match=message):
        weights.load(data)


def test_every_cut_of_a_file_is_noticed():
    data = weights.save({"a": np.arange(3.0), "b": np.ones((2, 2), np.float16)})
    for n in range(len(data)):
        with pytest.raises(SafeTensorsError):
            weights.load(data[:n])


def test_what_cannot_be_stored_is_refused(tmp_path):
    with pytest.raises(TypeError, match="x: safetensors has no dtype for complex128"):
        weights.save({"x": np.ones(2, complex)})
    with pytest.raises(TypeError, match="x: expected a tensor or an array, got list"):
        weights.save({"x": [1, 2]})
    with pytest.raises(TypeError, match="texts to texts"):
        weights.save({}, {"step": 3})
    with pytest.raises(ValueError, match="reserves"):
        weights.save({"__metadata__": np.ones(1)})


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "x.safetensors"
    weights.save_file({"x": np.arange(3)}, path)
    with pytest.raises(TypeError):
        weights.save_file({"x": np.arange(4), "bad": object()}, path)
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert weights.load_file(path)["x"].tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["x.safetensors"]


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
KEYS = st.one_of(
    st.text(max_size=4), st.integers(-3, 3), st.booleans(), st.tuples(st.integers(0, 2))
)
TREES = st.recursive(
    st.one_of(LEAVES, ARRAYS, ARRAYS.map(lambda a: a.reshape(-1)[:1].sum())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(st.just("$array"), inner, max_size=1),
    ),
    max_leaves=8,
)


def alike(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, (np.ndarray, np.generic)):
        return same(a, b)
    if isinstance(a, float):
        return a.hex() == b.hex() or (a != a and b != b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(map(alike, a.values(), b.values()))
    return a == b


@settings(deadline=None, max_examples=150)
@given(TREES)
def test_nested_state_survives_json_and_safetensors(tree):
    packed, arrays = pack(tree)
    text = json.dumps(packed, allow_nan=False)
    buffer = io.BytesIO(weights.save(arrays))
    assert alike(unpack(json.loads(text), weights.load(buffer.getvalue())), tree)


def test_pack_names_the_place_of_what_it_cannot_store():
    with pytest.raises(TypeError, match=r"state\.0\.rule is a function"):
        pack({"state": [{"rule": lambda: 0}]})


# ---------------------------------------------------------------- tied weights, files of others
class Tied(nn.Module):
    """Three names for one matrix, two for one buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3, bias=False), nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.c.weight = self.a.weight
        self.register_buffer("first", tg.ones(2))
        self.second = self.first


@pytest.mark.parametrize("kept", ["a.weight", "b.weight", "c.weight"])
@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_tied_weight_needs_one_name_in_the_file(tmp_path, kept, metadata):
    source, target = Tied(), Tied()
    state = source.state_dict()
    one = {k: v for k, v in state.items() if ".weight" not in k or k == kept}
    save_file(one, tmp_path / "x", metadata)
    load_model(target, tmp_path / "x")
    for name, value in target.state_dict().items():
        assert tg.equal(value, state[name]), name


def test_a_weight_that_is_not_tied_is_still_missing(tmp_path):
    source = Tied()
    state = source.state_dict()
    save_file({k: v for k, v in state.items() if k != "b.bias"}, tmp_path / "x")
    with pytest.raises(RuntimeError, match="Missing key.*b.bias"):
        load_model(Tied(), tmp_path / "x")
    save_file({k: v for k, v in state.items() if ".weight" not in k}, tmp_path / "x")
    with pytest.raises(RuntimeError, match="Missing key.*a.weight"):
        load_model(Tied(), tmp_path / "x")
