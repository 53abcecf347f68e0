"""GGUF files: each number format against the package gguf, files both ways, and damaged files."""

import os
import struct
import time

import numpy as np
import pytest
from oracles import oracle

from tinygrad_llm.weights.formats.gguf import (
    KINDS,
    WRITABLE,
    Encoded,
    GGUFError,
    GGUFFile,
    Pending,
    encode,
    is_gguf,
    pending,
    write,
)
from tinygrad_llm.weights.formats.gguf.decode import decode

BLOCKS = [name for name, kind in KINDS.items() if not kind.is_plain]
METADATA = {
    "general.architecture": "llama",
    "small": 3,
    "negative": -3,
    "large": 2**40,
    "yes": True,
    "rate": 0.5,
    "wide": np.float64(0.1),
    "texts": ["a", "", "日本", "\x00"],
    "ints": [1, -2],
    "floats": [0.5, 2],
    "bytes": np.arange(4, dtype=np.uint8),
    "flags": [True, False],
    "none": [],
}


def drawn(kind, rows=5, blocks=3):
    """Random bytes of whole rows of blocks: all scales, codes, NaN and infinities there are."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (rows, blocks * kind.n_bytes), dtype=np.uint8)


@pytest.mark.parametrize("name", [*BLOCKS, "F32", "F16", "BF16"])
def test_every_format_decodes_random_bytes_as_the_package_does(name):
    quants = oracle("gguf.quants")
    from gguf import GGMLQuantizationType

    kind = KINDS[name]
    raw = drawn(kind, rows=70, blocks=3 if kind.weights > 1 else 96)
    with np.errstate(all="ignore"):
        expected = quants.dequantize(raw, GGMLQuantizationType[name])
    out = decode(raw.reshape(-1), kind, np.empty(expected.shape, np.float32))
    both_nan = np.isnan(out) & np.isnan(expected)
    assert ((out.view(np.uint32) == expected.view(np.uint32)) | both_nan).all()
    assert not np.isnan(out).all(), "something is compared"


@pytest.mark.parametrize("name", WRITABLE)
def test_every_written_format_is_rounded_as_the_package_rounds(name):
    quants = oracle("gguf.quants")
    from gguf import GGMLQuantizationType

    rng = np.random.default_rng(1)
    w = (rng.standard_normal((33, 96)) * rng.lognormal(size=(33, 1))).astype(np.float32)
    w[1], w[2, :32], w[3] = 0, 0.5, np.round(w[3] * 2) / 2  # no scale, one value, ties
    w[4] *= 1e-30
    with np.errstate(all="ignore"):
        expected = quants.quantize(w, GGMLQuantizationType[name]).view(np.uint8).reshape(-1)
        got = encode(w, name)
    np.testing.assert_array_equal(got, expected)
    if name not in ("F16", "BF16"):  # which have two bytes each, and so an even number of blocks
        assert len(got) == 33 * KINDS[name].row_bytes(96)


@pytest.mark.parametrize(("name", "most"), [("Q8_0", 0.006), ("Q4_0", 0.16), ("Q4_1", 0.1)])
def test_the_error_of_a_format_is_its_step(name, most):
    w = np.random.default_rng(2).standard_normal((8, 64)).astype(np.float32)
    back = decode(encode(w, name), KINDS[name], np.empty_like(w))
    error = np.sqrt(np.mean((back - w) ** 2))
    assert 0 < error < most


def test_rows_and_numbers_that_cannot_be_encoded_are_errors():
    with pytest.raises(ValueError, match="rows of 33 weights cannot be Q4_1.*blocks of 32"):
        encode(np.zeros((2, 33), np.float32), "Q4_1")
    with pytest.raises(ValueError, match="Q4_K cannot be written; there are F32, F16"):
        encode(np.zeros((2, 256), np.float32), "Q4_K")
    with pytest.raises(ValueError, match="infinite number cannot be written as Q8_0"):
        encode(np.full((1, 32), np.inf, np.float32), "Q8_0")


def written(path):
    rng = np.random.default_rng(3)
    arrays = {f"w.{i}": rng.standard_normal((3, 5, 64)).astype("f4") for i in range(len(WRITABLE))}
    arrays["norm"] = np.arange(3, dtype=np.float32)
    write(path, METADATA, pending(arrays, [*WRITABLE, "F32"]))
    return arrays


def test_what_is_written_is_read_back(tmp_path):
    arrays = written(tmp_path / "a.gguf")
    file = GGUFFile(tmp_path / "a.gguf")
    assert is_gguf(tmp_path / "a.gguf") and not is_gguf(tmp_path / "b.gguf")
    assert list(file) == list(arrays) and len(file) == 7 and "nothing" not in file
    for name, kind in zip(arrays, [*WRITABLE, "F32"], strict=True):
        assert (file.shape(name), file.kind(name).name) == (arrays[name].shape, kind)
        limit = {"F32": 0, "F16": 2e-3, "BF16": 2e-2, "Q8_0": 0.02}.get(kind, 0.4)
        assert np.abs(file[name] - arrays[name]).max() <= limit, kind
        assert file[name].dtype == np.float32
    for key, value in METADATA.items():
        got = file.metadata[key]
        assert np.array_equal(got, value), key
        if not isinstance(value, np.ndarray | list | np.generic):
            assert type(got) is type(value), key


def test_the_package_reads_what_is_written(tmp_path):
    reader = oracle("gguf").GGUFReader
    arrays = written(tmp_path / "a.gguf")
    file, theirs = GGUFFile(tmp_path / "a.gguf"), reader(tmp_path / "a.gguf")
    assert [t.name for t in theirs.tensors] == list(arrays)
    for tensor in theirs.tensors:
        assert tuple(reversed(tensor.shape.tolist())) == file.shape(tensor.name)
        assert tensor.data.tobytes() == file.raw(tensor.name).tobytes()
    for key, value in METADATA.items():
        got = theirs.fields[key].contents() if not isinstance(value, list) or value else []
        assert (list(got) == list(value)) if isinstance(value, list | np.ndarray) else got == value


def test_we_read_what_the_package_writes(tmp_path):
    gguf = oracle("gguf")
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(64)
    writer.add_array("nested.texts", ["x", "yy"])
    writer.add_uint64("count", 2**50)
    arrays = {"a": np.arange(6, dtype=np.float64).reshape(2, 3), "b": np.arange(3, dtype=np.int16)}
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    raw = drawn(KINDS["Q6_K"], rows=2, blocks=1)
    writer.add_tensor("q", raw, raw_dtype=gguf.GGMLQuantizationType.Q6_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "a.gguf")
    assert file.metadata["nested.texts"] == ["x", "yy"] and file.metadata["count"] == 2**50
    for name, array in arrays.items():
        assert file[name].dtype == array.dtype
        np.testing.assert_array_equal(file[name], array)
    assert file.shape("q") == (2, 256) and file.raw("q").tobytes() == raw.tobytes()


def test_entries_of_metadata_are_copied_byte_for_byte(tmp_path):
    written(tmp_path / "a.gguf")
    file = GGUFFile(tmp_path / "a.gguf")
    entries = {key: file.metadata.encoded(key) for key in file.metadata}
    assert all(isinstance(entry, Encoded) for entry in entries.values())
    copied = {
        name: Pending(file.shape(name), file.kind(name).name, lambda name=name: file.raw(name))
        for name in file
    }
    write(tmp_path / "b.gguf", entries, copied)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_reading_into_an_array_rounds_to_its_dtype(tmp_path):
    written(tmp_path / "a.gguf")
    file = GGUFFile(tmp_path / "a.gguf")
    out = np.empty((3, 5, 64), np.float16)
    assert file.read("w.5", out) is out
    np.testing.assert_array_equal(out, file["w.5"].astype(np.float16))
    with pytest.raises(ValueError, match=r"w.5 has shape \(3, 5, 64\); out must be contiguous"):
        file.read("w.5", np.empty((5, 3, 64), np.float32))


def test_a_large_vocabulary_opens_quickly(tmp_path):
    tokens = [f"token{i}" for i in range(262_144)]
    write(tmp_path / "a.gguf", {"tokens": tokens}, {})
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        file = GGUFFile(tmp_path / "a.gguf")
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.5  # 0.04 s on a quiet machine; the package takes 2 s and more
    assert file.metadata["tokens"] == tokens and len(file.metadata) == 1


# ---------------------------------------------------------------------------------- damage
def start(n_tensors=0, n_entries=0, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_entries)


def text(s):
    return struct.pack("<Q", len(s)) + s


def tensor(name, sizes, kind, offset):
    sizes = struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def one(sizes=(4,), kind=0, offset=0, data=b"\0" * 64):
    head = start(1) + tensor(b"w", sizes, kind, offset)
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + data


DEEP = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 20 + struct.pack("<IQ", 0, 0)
DAMAGED = {
    b"": "cut short: 4 bytes at byte 0",
    b"GGML" + b"\0" * 40: "begins with b'GGML'",
    start(version=1): "version 1; versions 2 and 3",
    start(version=3 << 24): "big-endian",
    start(n_tensors=2**60): "1,152,921,504,606,846,976 tensors do not fit",
    start(n_entries=2**63): "entries of metadata do not fit",
    start(0, 1) + text(b"k") + struct.pack("<I", 99) + b"\0" * 8: "unknown type 99",
    start(0, 1) + struct.pack("<Q", 2**62) + b"\0" * 99: "cut short",
    start(0, 1) + text(b"\xff") + struct.pack("<IB", 0, 1) + b"\0": "utf-8",
    start(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 4, 2**61): "numbers do not fit",
    start(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 1) + b"\xff" * 8 + b"\0" * 9: "ends at 66",
    start(0, 1) + text(b"k") + DEEP: "nested more than 8",
    start(0, 2) + (text(b"k") + struct.pack("<IB", 0, 1)) * 2: "'k' is there twice",
    start(0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 0): "general.alignment is 0",
    one(kind=77): "number format 77 is unknown",
    one(sizes=(1,) * 5): "5 dimensions",
    one(sizes=(2**40, 2**40)): "more elements than memory",
    one(sizes=(40,)): "cut short: 'w' ends at byte",
    one(sizes=(33,), kind=8): "rows of 33 weights cannot be Q8_0",
    one(offset=8): "no multiple of 32",
    start(2) + tensor(b"a", (8,), 0, 0) + tensor(b"b", (8,), 0, 0) + b"\0" * 99: "overlaps 'a'",
    start(2) + tensor(b"a", (8,), 0, 0) + tensor(b"a", (8,), 0, 32) + b"\0" * 99: "there twice",
}  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED, ids=list(DAMAGED.values()))
def test_a_damaged_file_is_an_error_with_words(data, tmp_path):
    (tmp_path / "a.gguf").write_bytes(data)
    for read in (lambda: GGUFFile(tmp_path / "a.gguf"), lambda: GGUFFile.from_bytes(data)):
        with pytest.raises(GGUFError, match="is not a whole GGUF file") as error:
            read()
        assert DAMAGED[data] in str(error.value) and len(str(error.value)) < 500


def test_a_token_that_is_not_utf8_spoils_its_own_list_only(tmp_path):
    bad = Encoded(9, struct.pack("<IQ", 8, 1) + text(b"\xff"))
    write(tmp_path / "a.gguf", {"tokens": bad, "name": "x"}, {})
    file = GGUFFile(tmp_path / "a.gguf")
    assert file.metadata["name"] == "x"
    with pytest.raises(GGUFError, match="the metadata 'tokens' is damaged"):
        file.metadata["tokens"]


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    w = np.zeros((2, 32), np.float32)
    for metadata, tensors, words in [
        ({"k": None}, {}, "the metadata k cannot be None"),
        ({"k": 2**70}, {}, "cannot be 1180591620717411303424"),
        ({"k": ["a", 1]}, {}, "list of different things"),
        ({"k": np.zeros(2, "c8")}, {}, "array of complex64"),
        ({}, {"w": Pending((2, 32), "Q9", lambda: w)}, "Q9 cannot be written; try F32"),
        ({}, {"w": Pending((2, 31), "Q8_0", lambda: w)}, "rows of 31"),
        ({}, {"w": Pending((0, 32), "F32", lambda: w)}, "shape (0, 32)"),
        ({}, {"w": Pending((3, 32), "F32", lambda: w)}, "has shape (2, 32), expected (3, 32)"),
    ]:
        with pytest.raises(ValueError) as error:
            write(tmp_path / "a.gguf", metadata, tensors)
        assert words in str(error.value)
    assert os.listdir(tmp_path) == []
