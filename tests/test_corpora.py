"""Corpora: the embedded one, files and folders, and the named sets."""

import dataclasses
import hashlib
import sys
import types

import pytest
from data import data_file
from http_server import serving
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.data import corpora
from tinygrad_llm.data.corpora import NAMED, Corpus
from tinygrad_llm.files.downloads import DATA_VARIABLE, DownloadError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    return folder


# -- the default ---------------------------------------------------------------------------


def test_the_default_is_pythons_own_reference(cache):
    corpus = corpora.load()
    assert corpus.name == "python-reference" and corpus.licence == "PSF-2.0"
    assert corpus.source.startswith("pydoc_data.topics of CPython 3.")
    assert 400_000 < corpus.n_bytes < 800_000
    assert 'The "assert" statement' in corpus.text and "\r" not in corpus.text
    assert corpora.load("python-reference") == corpus
    assert not cache.exists()


def test_the_topics_are_sorted(monkeypatch):
    topics = {"b": "second\n", "a": "\nfirst\n\n", "c": "third"}
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", types.SimpleNamespace(topics=topics))
    assert corpora.load().text == "first\n\nsecond\n\nthird\n"


def test_a_python_without_its_reference(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(FileNotFoundError, match="has no pydoc_data.topics.*tinyshakespeare"):
        corpora.load()


# -- files and folders ---------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=("Cs",))).filter(str.strip))
def test_a_file(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_bytes(text.encode("utf-8"))
    corpus = corpora.load(path)
    expected = path.read_text("utf-8-sig")
    assert corpus.text == expected
    assert corpus.n_bytes == len(expected.encode("utf-8"))
    assert (corpus.name, corpus.licence) == ("text.txt", "unknown")
    assert corpora.load(str(path)) == corpus


def test_line_ends_and_the_byte_order_mark(tmp_path):
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert corpora.load(tmp_path / "t").text == "a\nb\nc\n"


def test_a_folder(tmp_path):
    for name, text in [
        ("b.txt", "second\n"),
        ("a/z.md", "first\n\n"),
        ("c", "third"),
        (".hidden", "x"),
        (".git/config", "x"),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    corpus = corpora.load(tmp_path)
    assert corpus.text == "first\n\nsecond\n\nthird\n"
    assert corpus.name == tmp_path.name and corpus.source == str(tmp_path)


def test_what_is_not_a_text_and_old_runs_are_left_out_of_a_folder(tmp_path):
    for name, data in [
        ("a.txt", b"first"), ("b.png", b"\x89PNG\r\n\0\0\0"), 
        ("late.bin", b"x" * (1 << 20) + b"\0"),
        ("notes/manifest.txt", b"second"), ("runs/r1/losses.jsonl", b"{}"),
        ("runs/r1/checkpoints/step-1/manifest.json", b"{}"), ("kept/manifest.json", b"{}"),
        ("runs/r1/checkpoints/step-1/model.safetensors", b"12345678{}"), ("z.md", b"third"),
    ]:  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(data)
    corpus = corpora.load(tmp_path)
    assert corpus.text == "first\n\nsecond\n\nthird\n"
    assert {line.replace("\\", "/") for line in corpus.skipped} == {
        "b.png (not a text)", "late.bin (not a text)", "runs/r1 (the folder of a run)",
        "kept (the folder of a run)",
    }  # fmt: skip


def test_a_folder_of_runs_alone(tmp_path):
    (tmp_path / "checkpoints" / "step-3").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-3" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no texts, only .*the folder of a run"):
        corpora.load(tmp_path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no corpus and no file is called .*none.txt"):
        corpora.load(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match="did you mean 'tinyshakespeare'"):
        corpora.load("tiny-shakespeare")


@pytest.mark.parametrize(
    "data, place",
    [
        (b"abc\xff", 3),
        (b"\xef\xbb\xbfabc\xff", 6),
        ("é".encode("latin-1") + b" text", 0),
        (b"x" * 70_000 + b"\x80", 70_000),
        (b"cut \xe2\x82", 4),
        ("text".encode("utf-16"), 0),
    ],
)
def test_what_is_not_utf8_is_named_with_the_byte(tmp_path, data, place):
    (tmp_path / "bad").write_bytes(data)
    for where in (tmp_path / "bad", tmp_path):
        with pytest.raises(
            ValueError, match=rf"bad is not UTF-8: byte {place} \(0x{data[place]:02x}\)"
        ):
            corpora.load(where)


@pytest.mark.parametrize("data", [b"", b" \n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_or_folder(tmp_path, data):
    with pytest.raises(ValueError, match="holds no files"):
        corpora.load(tmp_path)
    (tmp_path / "t").write_bytes(data)
    for where in (tmp_path / "t", tmp_path):
        with pytest.raises(ValueError, match="is empty"):
            corpora.load(where)


# -- named sets ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMED)
def test_the_named_sets_are_the_files_that_their_authors_publish(name, monkeypatch):
    file = data_file(NAMED[name].file_name)
    root = file.parents[NAMED[name].file_name.count("/")]
    monkeypatch.setenv(DATA_VARIABLE, str(root))
    before = sorted(file.parent.iterdir())
    corpus = corpora.load(name)
    assert corpora.path(name) == file
    assert corpus.text == file.read_text("utf-8")
    assert corpus.n_bytes == NAMED[name].n_bytes == file.stat().st_size
    assert corpus.name == name and corpus.source == NAMED[name].addresses[0]
    assert sorted(file.parent.iterdir()) == before


def test_names_and_descriptions():
    assert corpora.names() == ["python-reference", *NAMED]
    assert len({remote.file_name for remote in NAMED.values()}) == len(NAMED)
    for remote in NAMED.values():
        assert remote.licence and remote.description.endswith(".")
        assert all(address.startswith("https://") for address in remote.addresses)


def test_a_named_set_is_downloaded_once(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    data = b"A text.\n"
    with serving() as server:
        remote = dataclasses.replace(
            NAMED["the-verdict"],
            addresses=(server.add("/v", "good", data),),
            sha256=hashlib.sha256(data).hexdigest(),
            n_bytes=len(data),
        )
        monkeypatch.setitem(NAMED, "the-verdict", remote)
        seen = []
        corpus = corpora.load("the-verdict", progress=lambda *now: seen.append(now))
        assert corpus.text == "A text.\n" and seen == [(8, 8)]
        assert corpora.path("the-verdict") == cache / "the-verdict.txt"
        assert server.requests == ["/v"]


def test_a_wrong_file_in_the_cache(cache):
    cache.mkdir()
    (cache / "the-verdict.txt").write_text("mine")
    with pytest.raises(DownloadError, match="the-verdict.txt is not the file it should be"):
        corpora.load("the-verdict")
    assert (cache / "the-verdict.txt").read_text() == "mine"


def test_offline(cache, monkeypatch):
    remote = dataclasses.replace(NAMED["the-verdict"], addresses=("http://127.0.0.1:9/v",))
    monkeypatch.setitem(NAMED, "the-verdict", remote)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="(?s)could not be downloaded.*put it at") as caught:
        corpora.load("the-verdict")
    assert str(cache / "the-verdict.txt") in str(caught.value)
    assert remote.sha256 in str(caught.value)


def test_an_unknown_set():
    with pytest.raises(ValueError, match="no data set file named 'sms_spam'.*mean 'sms-spam'"):
        corpora.path("sms_spam")
    with pytest.raises(ValueError, match="no data set file named 'python-reference'"):
        corpora.path("python-reference")


def test_a_corpus_counts_its_bytes():
    corpus = Corpus("aé😀", "n", "s", "l")
    assert corpus.n_bytes == 7
    assert "é" not in repr(corpus)
