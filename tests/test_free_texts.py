"""Free texts of packages: which there are, what is missing, how `prepare packages` names them."""

import json
import shutil

import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.data import free_texts
from tinygrad_llm.data.free_texts import FreeText, find_free_texts, write_free_texts
from tinygrad_llm.data.shards import Shards

OWN = (
    FreeText("own", "CC0-1.0", "words of a test", lambda: iter(
        [(f"a/{i}.txt", f"text {i}. {'word ' * 40} {i * 7}\n".encode()) for i in range(12)])),
    FreeText("other", "MIT", "is not here", lambda: missing()),
)  # fmt: skip


def missing():
    raise FileNotFoundError("the package other is not installed")
    yield


def test_each_source_has_a_licence_and_python_and_numpy_are_there(monkeypatch, tmp_path):
    assert all(source.licence and source.description for source in free_texts.FREE_TEXTS)
    known = [s for s in free_texts.FREE_TEXTS if s.name in ("python-reference", "numpy")]
    monkeypatch.setattr(free_texts, "FREE_TEXTS", tuple(known))
    there, left_out = find_free_texts()
    assert [source.name for source in there] == ["python-reference", "numpy"] and not left_out
    assert all(sum(len(data) for _, data in files) > 300_000 for files in there.values())


def test_help_names_every_package(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for _, _, title in free_texts._PACKAGES:
        assert title in shown


def test_plays_are_left_out_without_a_network(monkeypatch):
    def fetch(*args, **more):
        raise free_texts.DownloadError("no network\nmore")

    monkeypatch.setattr(free_texts, "fetch", fetch)
    (plays,) = [s for s in free_texts.FREE_TEXTS if s.name == "plays"]
    with pytest.raises(FileNotFoundError, match="^no network$"):
        list(plays.files())


def test_prepare_packages_names_its_sources(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(free_texts, "FREE_TEXTS", OWN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "packages", "--out", "shards", "--tokenizer", "char", "--documents",
              "keep", "--paragraphs", "keep", "--no-repair", "--processes", "1", "--val-fraction",
              "0.3", "--most-repetition", "1"])  # fmt: skip
    assert ended.value.code == 0
    shown = capsys.readouterr()
    assert "own, words of a test" in shown.out and "other is not installed" in shown.err
    assert len(list((tmp_path / "shards-texts" / "own" / "a").iterdir())) == 12
    row = {"name": "own", "licence": "CC0-1.0", "description": "words of a test"}
    assert Shards("shards").named_sources == [row]
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        main(["pretrain", "--data", "shards", "--steps", "2", "--context-length", "8", "--emb-dim",
              "8", "--n-heads", "1", "--n-layers", "1", "--sample-tokens", "0", "--out", str(run),
              "--plain"])  # fmt: skip
    from tinygrad_llm.cli.model_card import write_card
    from tinygrad_llm.training.checkpoint import find_checkpoint

    card = write_card(tmp_path / "card.md", "gguf", None, find_checkpoint(run), "run")
    text = card.read_text()
    assert (
        "| licence of the data | CC0-1.0 |" in text
        and "| own | CC0-1.0 | words of a test |" in text
    )
    copy = tmp_path / "unnamed"  # a second folder whose licences nobody has named
    shutil.copytree(tmp_path / "shards", copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "sources": []}))
    with pytest.raises(SystemExit):
        main(["pretrain", "--data", "shards,unnamed", "--steps", "2", "--context-length", "8",
              "--emb-dim", "8", "--n-heads", "1", "--n-layers", "1", "--sample-tokens", "0",
              "--out", "both", "--plain"])  # fmt: skip
    text = write_card(card, "gguf", None, find_checkpoint("both"), "run").read_text()
    assert "| data | `shards, unnamed` |" in text
    assert "| licence of the data | CC0-1.0, not known |" in text
    assert "| own | CC0-1.0 | words of a test |\n| unnamed | not known |" in text


def test_texts_that_are_there_are_not_written_again(tmp_path):
    texts = {OWN[0]: list(OWN[0].files())}
    rows = write_free_texts(tmp_path, texts)
    path = tmp_path / "own" / "a" / "3.txt"
    time = path.stat().st_mtime_ns
    (tmp_path / "own" / "a" / "4.txt").write_bytes(b"cut")
    assert write_free_texts(tmp_path, texts) == rows == json.loads(
        (tmp_path / "sources.json").read_text()
    )  # fmt: skip
    assert path.stat().st_mtime_ns == time
    assert (tmp_path / "own" / "a" / "4.txt").read_bytes() == texts[OWN[0]][4][1]


def test_texts_of_an_older_package_are_not_prepared(tmp_path, monkeypatch, capsys):
    texts = {OWN[0]: list(OWN[0].files())}
    folder = tmp_path / "shards-texts"
    write_free_texts(folder, texts)
    path = folder / "own" / "a" / "3.txt"
    path.write_bytes(path.read_bytes()[::-1])  # the same size
    (folder / "own" / ".DS_Store").write_bytes(b"of a file manager")
    write_free_texts(folder, texts)
    assert path.read_bytes() == texts[OWN[0]][3][1]
    with pytest.raises(ValueError, match=r"has 1 files .* such as own.a.3\.txt: remove the folder"):
        write_free_texts(folder, {OWN[0]: [file for file in texts[OWN[0]] if "3" not in file[0]]})
    (folder / "own" / "old.txt").write_text("of a package that was updated")
    monkeypatch.setattr(free_texts, "FREE_TEXTS", OWN)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "packages", "--out", str(tmp_path / "shards")])
    assert ended.value.code == 2 and "do not bring any more" in capsys.readouterr().err
    assert not (tmp_path / "shards").exists()


def test_a_sources_json_of_another_kind(tmp_path, capsys):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_text(
        "some words of a text that is long enough to stay here. " * 3
    )
    (tmp_path / "t" / "sources.json").write_text('{"name": 1}')
    with pytest.raises(SystemExit) as ended:
        main(["prepare", str(tmp_path / "t"), "--out", str(tmp_path / "o"), "--tokenizer", "char",
              "--no-repair", "--val-fraction", "0", "--processes", "1"])  # fmt: skip
    assert ended.value.code == 2 and "should be a list of objects" in capsys.readouterr().err
    assert not (tmp_path / "o" / "work").exists()  # before the work, not at its end
