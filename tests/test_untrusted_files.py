"""Files whose values lie about their size, depth or type are refused before they cost anything."""

from __future__ import annotations

import io
import json
import os
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_zip
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.files.atomic import atomic_write
from tinygrad_llm.files.json_files import parse_json, read_json, write_json
from tinygrad_llm.files.untrusted import DEEPEST, check_nesting, describe, element_count, is_flat
from tinygrad_llm.finetune.files import class_names, number_labels, read_entries, read_labelled
from tinygrad_llm.serialization import LoadError
from tinygrad_llm.weights.formats.torch_file import TorchFileError

ERRORS = (LoadError, TorchFileError)


def load_quickly(data: bytes, seconds: float = 20.0, megabytes: float = 100.0):
    """load(), which must end soon, in little memory, with a value or an error of the package."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        return torch.load(io.BytesIO(data))
    except ERRORS as error:
        assert len(str(error)) < 1500, "an error does not print the file"
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.process_time() - begin < seconds
        assert peak < megabytes * 1e6


# ------------------------------------------------------------- PyTorch's files: the byte code
def doubled(levels: int, seed: bytes = b")") -> bytes:
    """A tuple that holds one tuple twice, and so on: small to build, endless to print or hash."""
    return seed + b"2\x86" * levels


SHARED = doubled(60)
CUDA = torch_zip.text("cuda")
HUGE = b"\x8a" + bytes([200]) + b"\x01" * 200  # an int of 1,600 bits


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return torch_zip.symbol(module, name) + b"(" + b"".join(arguments) + b"tR"


def stored(
    key: bytes = b"X\x01\0\0\x000", location: bytes = b"X\x03\0\0\0cpu", numel: bytes = b"K\x04"
):
    symbol = torch_zip.symbol("torch", "FloatStorage")
    return b"(" + torch_zip.text("storage") + symbol + key + location + numel + b"tQ"


def tensor(offset=b"K\0", shape=b"K\x02K\x02\x86", strides=b"K\x02K\x01\x86", storage=None):
    hooks = torch_zip.symbol("collections", "OrderedDict") + b")R"
    return called(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage or stored(),
        offset,
        shape,
        strides,
        b"\x89",
        hooks,
    )


LYING_CODE = {
    "a shared tuple as a key": b"}" + SHARED + b"K\x01s",
    "a shared tuple in a set": b"\x8f(" + SHARED + b"\x90",
    "a shared tuple in a frozenset": b"(" + SHARED + b"\x91",
    "a set made of a shared tuple": called("builtins", "set", SHARED),
    "a frozenset made of a shared tuple": called("builtins", "frozenset", b"]" + SHARED + b"a"),
    "an OrderedDict with a shared key": called(
        "collections", "OrderedDict", b"](" + SHARED + b"K\x01\x86e"
    ),
    "an OrderedDict of numbers": called("collections", "OrderedDict", b"K\x07"),
    "a device named by a tuple": called("torch", "device", SHARED),
    "a device with a tuple for its number": called("torch", "device", CUDA, SHARED),
    "a Size of tuples": called("torch", "Size", SHARED),
    "a Size of a number": called("torch", "Size", b"K\x07"),
    "bytes made of a number": called("builtins", "bytes", torch_zip.whole(1 << 30)),
    "a bytearray made of a number": called("builtins", "bytearray", torch_zip.whole(1 << 30)),
    "bytes in a tuple's encoding": called("_codecs", "encode", torch_zip.text("x"), SHARED),
    "a complex number of texts": called("builtins", "complex", torch_zip.text("1" * 5000)),
    "a complex number that is too large": called("builtins", "complex", HUGE),
    "a set of a number": called("builtins", "set", b"K\x07"),
    "a call without a tuple": torch_zip.symbol("builtins", "set") + b"]R",
    "a name that is a tuple": SHARED + SHARED + b"\x93",
    "a storage at a shared place": tensor(storage=stored(location=SHARED)),
    "a storage with a tuple for its key": tensor(storage=stored(key=SHARED)),
    "a storage of minus four": tensor(storage=stored(numel=torch_zip.whole(-4))),
    "a reference to a tuple": SHARED + b"Q",
    "a reference to a number": b"K\x07Q",
    "a shape of shared tuples": tensor(shape=SHARED),
    "70 dimensions": tensor(shape=b"(" + b"K\x01" * 70 + b"t", strides=b"(" + b"K\x01" * 70 + b"t"),
    "a size of 1,600 bits": tensor(shape=HUGE + b"K\x02\x86"),
    "2,000 sizes of 1,600 bits": tensor(shape=b"(" + HUGE * 2000 + b"t"),
    "no elements, but a size of 1,600 bits": tensor(shape=b"K\0" + HUGE + b"\x86"),
    "a stride of 1,600 bits": tensor(strides=HUGE + b"K\x01\x86"),
    "an offset of 1,600 bits": tensor(offset=HUGE),
    "a shape that is a text": tensor(shape=torch_zip.text("ab")),
    "a tensor over a number": tensor(storage=b"K\x07"),
    "a parameter made of a number": called(
        "torch._utils", "_rebuild_parameter", b"K\x07", b"\x88", b")"
    ),
    "a dtype without a size": called(
        "torch._utils", "_rebuild_tensor_v3", stored(), b"K\0", b"K\x01\x85", b"K\x01\x85", b"\x89",
        b")", torch_zip.symbol("torch", "Size"),
    ),
    "lists nested 20,000 deep": b"]" * 20_000 + b"a" * 19_999,
    "dicts nested 2,000 deep": b"}K\x01" * 2000 + b"Ns" * 2000,
    "a tuple nested 20,000 deep as a key": b"}" + b")" + b"\x85" * 20_000 + b"K\x01s",
    "no value": b"",
    "a number kept nowhere": b"h\x05",
}  # fmt: skip


@pytest.mark.parametrize("name", LYING_CODE)
def test_byte_code_that_lies(name):
    loaded = load_quickly(torch_zip.archive(LYING_CODE[name], {"0": np.zeros(4, np.float32)}))
    assert isinstance(loaded, ERRORS), loaded


def test_shared_tuples_are_loaded_once_each():
    loaded = load_quickly(torch_zip.archive(SHARED))
    for _ in range(60):
        assert loaded[0] is loaded[1]
        loaded = loaded[0]
    assert loaded == ()


def test_an_expanded_tensor_needs_no_memory():
    shape = torch_zip.code((1 << 30, 1 << 20))
    data = torch_zip.archive(
        tensor(shape=shape, strides=b"K\0K\0\x86"), {"0": np.zeros(4, np.float32)}
    )
    assert tuple(load_quickly(data).shape) == (1 << 30, 1 << 20)


@pytest.mark.parametrize("size", [1 << 20, 1 << 32, 20_000_000_000])
def test_a_member_that_is_larger_than_its_file(size):
    data = bytearray(torch_zip.archive(b"N"))
    at = data.index(b"PK\x01\x02")  # the entry of data.pkl in the table of contents
    data[at + 20 : at + 28] = struct.pack("<II", min(size, 0xFFFFFFFE), min(size, 0xFFFFFFFE))
    error = load_quickly(bytes(data))
    assert isinstance(error, TorchFileError) and "cut short" in str(error)


def test_an_archive_with_compressed_members():
    data = torch_zip.archive(
        b"N", more={"data/0": b"\0" * 10_000_000}, compression=zipfile.ZIP_DEFLATED
    )
    assert "compressed" in str(load_quickly(data))


# ------------------------------------------------------------------- safetensors and our own
def file_of(header, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, end=4, **changes):
    return {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end], **changes}}


LYING_HEADERS = {
    "not an object": file_of([]),
    "UTF-16": file_of('{"w": 1}'.encode("utf-16")),
    "nested 1,000 deep": file_of(b'{"w":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "a name twice": file_of(b'{"w":{},"w":{}}'),
    "a name twice in an entry": file_of(b'{"w":{"dtype":"F32","dtype":"F16"}}'),
    "NaN": file_of(b'{"w":NaN}'),
    "a list for a dtype": file_of(entry([1], dtype=["F32"]), b"\0" * 4),
    "a dict for a dtype": file_of(entry([1], dtype={}), b"\0" * 4),
    "an unknown dtype of a million letters": file_of(entry([1], dtype="F" * 1_000_000), b"\0" * 4),
    "70 dimensions": file_of(entry([1] * 70), b"\0" * 4),
    "no elements, but 2^63": file_of(entry([0, 1 << 63], 0)),
    "a size of 4,000 digits": file_of(b'{"w":{"dtype":"F32","shape":[' + b"9" * 4000 + b"]}}"),
    "10,000 sizes of 4,000 digits": file_of(entry([10**300] * 10_000), b"\0" * 4),
    "a true size": file_of(entry([True]), b"\0" * 4),
    "a size of 1.0": file_of(entry([1.0]), b"\0" * 4),
    "offsets of texts": file_of(entry([1], data_offsets="04"), b"\0" * 4),
    "three offsets": file_of(entry([1], data_offsets=[0, 2, 4]), b"\0" * 4),
    "offsets backwards": file_of(entry([1], data_offsets=[4, 0]), b"\0" * 4),
    "offsets below zero": file_of(entry([1], data_offsets=[-4, 0]), b"\0" * 4),
    "metadata that is a list": file_of({"__metadata__": [1], **entry([1])}, b"\0" * 4),
    "metadata with numbers": file_of({"__metadata__": {"a": 1}, **entry([1])}, b"\0" * 4),
    "a shape that is a text": file_of(entry("1"), b"\0" * 4),
    "an entry that is a number": file_of({"w": 1}, b"\0" * 4),
}


@pytest.mark.parametrize("name", LYING_HEADERS)
def test_headers_that_lie(name):
    error = load_quickly(LYING_HEADERS[name])
    assert isinstance(error, LoadError), error


def own(structure) -> bytes:
    text = structure if isinstance(structure, str) else json.dumps(structure)
    header = {"__metadata__": {"tinygrad_llm.structure": text}, **entry([1])}
    return file_of(header, b"\0" * 4)


def kind(of, **fields):
    return {"$dict": [["$type", of], *([key, value] for key, value in fields.items())]}


LYING_STRUCTURES = {
    "not JSON": "{",
    "nested 1,000 deep": "[" * 1000 + "]" * 1000,
    "a bytearray of a number": kind("bytearray", data=2_000_000_000),
    "a bytearray of a list": kind("bytearray", data=[1, 2]),
    "a tensor of a number": kind("Tensor", name=7),
    "a tensor of a list": kind("Tensor", name=["w"]),
    "a tensor that is not there": kind("Tensor", name="v"),
    "requires_grad of a text": kind("Tensor", name="w", requires_grad="yes"),
    "a device of a list": kind("device", name=["cpu"]),
    "an unknown device": kind("device", name="toaster"),
    "a dtype of a list": kind("dtype", name=["float32"]),
    "an unknown dtype": kind("dtype", name="float31"),
    "a Size of texts": kind("Size", items=["a"]),
    "a set of lists": kind("set", items=[[1]]),
    "a set of a number": kind("set", items=7),
    "a dict with a list for a key": kind("dict", items=[[[1], 2]]),
    "a dict of three": kind("dict", items=[[1, 2, 3]]),
    "an OrderedDict of a number": kind("OrderedDict", items=7),
    "a complex number of texts": kind("complex", real="1" * 5000, imag=1.0),
    "a complex number that is too large": kind("complex", real=10**400, imag=1.0),
    "a kind that is a list": kind([1]),
    "a number's text that is a number": {"$float": 1},
    "a number's text that is none": {"$float": "one"},
    "bytes of a number": {"$bytes": 7},
    "bytes that are not in hexadecimal": {"$bytes": "xyz"},
    "a tuple of a number": {"$tuple": 7},
    "a set of a plain number": {"$set": 7},
    "a set of plain lists": {"$set": [[1]]},
    "a frozenset of arrays": {"$frozenset": [{"$array": "w"}]},
    "pairs of a number": {"$dict": 7},
    "a pair of three": {"$dict": [[1, 2, 3]]},
    "a key that is a list": {"$dict": [[[1], 2]]},
    "an array that is not there": {"$array": "v"},
}


@pytest.mark.parametrize("name", LYING_STRUCTURES)
def test_structures_that_lie(name):
    error = load_quickly(own(LYING_STRUCTURES[name]))
    assert isinstance(error, LoadError), error


def test_one_array_at_many_places_is_one_array():
    loaded = load_quickly(own([kind("array", name="w")] * 1000))
    assert all(np.shares_memory(array, loaded[0]) for array in loaded)


def test_save_refuses_what_load_would(tmp_path):
    value = 1
    for _ in range(DEEPEST + 1):
        value = [value]
    with pytest.raises(ValueError, match="nested more than"):
        torch.save(value, tmp_path / "x")
    torch.save(value[0], tmp_path / "x")
    assert torch.load(tmp_path / "x") == value[0]


# ---------------------------------------------------------------------------- the checks alone
def nested(levels, wrap):
    value = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"a": v}])
@pytest.mark.parametrize("deepest", [1, 2, 7, DEEPEST])
def test_the_limit_of_nesting(wrap, deepest):
    check_nesting(nested(deepest, wrap), deepest)
    with pytest.raises(ValueError, match=f"more than {deepest} levels"):
        check_nesting(nested(deepest + 1, wrap), deepest)


def test_nesting_of_shared_and_recursive_containers():
    shared = nested(4, lambda v: [v])
    check_nesting([shared, [shared]], 6)
    with pytest.raises(ValueError, match="levels"):
        check_nesting([shared, [[shared]]], 6)
    itself: list = []
    itself.append(itself)
    check_nesting(itself)


@given(st.lists(st.integers(0, 1 << 20), max_size=6))
def test_element_count_is_the_product(shape):
    try:
        assert element_count(shape) == int(np.prod([1, *shape], dtype=object))
    except ValueError:
        assert np.prod([1.0, *(max(n, 1) for n in shape)]) > 2.0**58


@pytest.mark.parametrize("shape", [[-1], [1.0], [True], ["1"], [1] * 65, [1 << 60], [0, 1 << 60]])
def test_element_count_refuses(shape):
    with pytest.raises(ValueError, match="dimension|elements"):
        element_count(shape)


def test_descriptions_are_short():
    shared: tuple = ()
    for _ in range(100):
        shared = (shared, shared)
    for value in (shared, "x" * 10**6, 10**5000, b"y" * 10**6, [shared], {1: shared}, object()):
        assert len(describe(value)) < 80
    assert describe("abc") == "'abc'" and describe(7) == "7" and describe(True) == "True"


@pytest.mark.parametrize("value", [1, "a", None, b"", (1, "a"), frozenset({1}), 2.5, ()])
def test_keys(value):
    assert is_flat(value)
    assert not is_flat((value, (value,))) and not is_flat([value]) and not is_flat({1: value})


# ---------------------------------------------------------------------------------------- JSON
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "levels deep"),
        ("[" * 10**6, "levels deep"),
        ('{"a": 1, "a": 2}', "the name 'a' is in one object twice"),
        (b"\xff", "not UTF-8"),
        ("", "not JSON"),
        ("1" * 5000, "not JSON"),
        ('"' + '\\"' * 10**5, "not JSON"),
        ('"a\x00"', "not JSON"),
        ("nan", "not JSON"),
    ],
)
def test_json_that_is_refused(text, message):
    begin = time.process_time()
    with pytest.raises(ValueError, match=message) as raised:
        parse_json(text, "the file x")
    assert "the file x" in str(raised.value) and len(str(raised.value)) < 400
    assert time.process_time() - begin < 20


def test_brackets_in_texts_are_not_levels():
    value = ["[" * 10_000, '"]}' * 500, "\\", '\\"[[', {"{" * 400: 1}]
    assert parse_json(json.dumps(value), "x") == value


@given(st.recursive(st.none() | st.text(st.characters(), max_size=9) | st.integers(), st.lists))
def test_json_there_and_back(tmp_path_factory, value):
    """Also texts with half a character (a lone surrogate), which UTF-8 does not have."""
    path = tmp_path_factory.mktemp("json") / "x.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("name", ["caf\udce9.txt", "\ud800", "a\udfff\U0001f600", "日本\udc80"])
@pytest.mark.parametrize("place", ["value", "key", "nested", "tensor's name"])
def test_half_characters_are_saved(tmp_path, name, place):
    obj = {
        "value": {"corpus": name},
        "key": {name: 1},
        "nested": [(name, {name})],
        "tensor's name": {name: torch.ones(2)},
    }[place]
    torch.save(obj, tmp_path / "x")
    loaded = torch.load(tmp_path / "x")
    if place == "tensor's name":
        assert list(loaded) == [name] and loaded[name].tolist() == [1.0, 1.0]
    else:
        assert loaded == obj


# -------------------------------------------------------------------------------------- links
@pytest.mark.parametrize("write", ["save", "save_file", "write_json", "atomic_write"])
def test_a_link_stays_a_link(tmp_path, write):
    from tinygrad_llm.weights import save_file

    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    os.chmod(target, 0o600)
    link.symlink_to(os.path.join("disk", "target"))
    second = tmp_path / "second"
    second.symlink_to("link")  # a link to a link
    for path in (link, second):
        before = target.read_bytes()
        if write == "save":
            torch.save({"a": str(path)}, path)
        elif write == "save_file":
            save_file({str(path): np.ones(2)}, path)
        elif write == "write_json":
            write_json(path, str(path))
        else:
            with atomic_write(path) as file:
                file.write(str(path).encode())
        assert path.is_symlink() and target.read_bytes() != before
    assert sorted(os.listdir(tmp_path)) == ["disk", "link", "second"]
    assert os.listdir(tmp_path / "disk") == ["target"]


def test_a_link_to_nothing_makes_its_target(tmp_path):
    (tmp_path / "link").symlink_to("target")
    torch.save([1], tmp_path / "link")
    assert torch.load(tmp_path / "target") == [1] and (tmp_path / "link").is_symlink()


def test_the_longest_name(tmp_path):
    name = "é" * 127  # 254 bytes, one less than file systems take
    torch.save([1], tmp_path / name)
    assert torch.load(tmp_path / name) == [1] and os.listdir(tmp_path) == [name]


# -------------------------------------------------------------------------------- data of users
LINE_ENDS = ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r"]


@pytest.mark.parametrize("mark", LINE_ENDS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_line_feeds_end_a_json_line(tmp_path, mark, end):
    rows = [{"text": f"a{mark}b{mark}", "label": f"x{mark}y"}, {"text": "c", "label": "d"}]
    if ord(mark) < 32:
        text = "".join(json.dumps(row) + end for row in rows)
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)
    for suffix in ("jsonl", "ndjson"):
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(text.encode())
        assert read_entries(path, ("text",)) == rows
        assert read_labelled(path) == [(row["text"], row["label"]) for row in rows]


@pytest.mark.parametrize("value", [None, True, 1.0, 1.5, [], ["a"], {}, {"a": 1}])
@pytest.mark.parametrize("column", ["text", "label"])
def test_json_of_other_types(tmp_path, column, value):
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps([{"text": "a", "label": "b"}, {"text": "a", "label": "b", column: value}])
    )
    with pytest.raises(ValueError, match=f"entry 1: '{column}' should be a text"):
        read_labelled(path)


def test_integers_are_labels(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('[{"text": "a", "label": 10}, {"text": "b", "label": 9}]')
    assert read_labelled(path) == [("a", "10"), ("b", "9")]
    assert class_names(read_labelled(path)) == ["9", "10"]


@pytest.mark.parametrize(
    "labels", [["-", "1"], ["--5", "3"], ["²", "1"], ["1" * 5000, "2"], ["1.0", "1"], ["", "1"]]
)
def test_labels_that_are_not_numbers(labels):
    assert class_names([("text", label) for label in labels]) == sorted(labels)


def test_a_text_is_no_label():
    rows = [("a", "even"), ("b", "odd" * 1000)]
    with pytest.raises(ValueError, match="row 1 has a label of 3,000 characters .* column of text"):
        number_labels(rows, class_names(rows))


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (
            'ham\t"hello\nspam\twin now\nham\tbye\n',
            [('"hello', "ham"), ("win now", "spam"), ("bye", "ham")],
        ),
        ('ham\t"quoted"\nspam\t"a ""b"""\n', [("quoted", "ham"), ('a "b"', "spam")]),
        ('ham\tsay "hi" now\nspam\tx\n', [('say "hi" now', "ham"), ("x", "spam")]),
        ('ham\t"a" and "b"\nspam\t"c"\n', [('"a" and "b"', "ham"), ('"c"', "spam")]),
        ('ham\t"\nspam\t""\n', [('"', "ham"), ('""', "spam")]),
        ("ham\ta,b\nspam\tc\r\n", [("a,b", "ham"), ("c", "spam")]),
    ],
)
def test_quotation_marks_in_a_tsv_file(tmp_path, body, rows):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"label\ttext\n" + body.encode())
    assert read_labelled(path) == rows


@pytest.mark.parametrize(
    ("body", "line"),
    [('ham,"hello\nspam,win\n', 2), ('ham,a\nham,"b" c\n', 3), ('ham,a\nham,b\nspam,"c\nd,e\n', 4)],
)
def test_open_quotation_marks_in_a_csv_file(tmp_path, body, line):
    path = tmp_path / "x.csv"
    path.write_text("label,text\n" + body)
    with pytest.raises(ValueError, match=f"x.csv: the row that begins on line {line} "):
        read_labelled(path)


def test_fields_longer_than_csvs_limit(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,text\nham," + "a" * 300_000 + "\nspam,b\n")
    assert [len(text) for text, _ in read_labelled(path)] == [300_000, 1]


def test_a_column_twice(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,text,text\nham,a,b\n")
    with pytest.raises(ValueError, match="has the column 'text' 2 times"):
        read_labelled(path)
