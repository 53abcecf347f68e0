"""A folder of texts to shards: each stage, what files may do wrong, repeats, and whole runs."""

import dataclasses
import errno
import gzip
import hashlib
import json
import os
import random
import sys
import time

import numpy as np
import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.data.preparation import minhash, repeats
from tinygrad_llm.data.preparation.encoding import decode, repaired
from tinygrad_llm.data.preparation.formats import _BLOCKS, documents_in
from tinygrad_llm.data.preparation.minhash import detection_probability, jaccard, near_duplicates
from tinygrad_llm.data.preparation.normalise import japanese, plain, without_gutenberg
from tinygrad_llm.data.preparation.personal import scrubbed
from tinygrad_llm.data.preparation.pipeline import cut, hash_of
from tinygrad_llm.data.preparation.quality import language_of, symbol_share
from tinygrad_llm.data.preparation.run import Preparation
from tinygrad_llm.data.preparation.settings import Settings
from tinygrad_llm.data.preparation.shingles import shingles_of
from tinygrad_llm.data.preparation.sources import Source, find_sources, units_of
from tinygrad_llm.data.shards import Shards
from tinygrad_llm.text import load_tokenizer

PLAIN = Settings(tokenizer="char", repair=False)
WORDS = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
         "sigma tau upsilon phi chi psi omega").split()  # fmt: skip


def text_of(seed, n=120):
    """n words that depend on the seed, a line for every twelve."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) + str(draw.randrange(100)) for _ in range(n)]
    return "\n".join(" ".join(words[i : i + 12]) for i in range(0, n, 12))


def fill(folder, texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def read(folder, name, settings=PLAIN, begin=0, end=None):
    """(documents, troubles) of one file of a folder."""
    (source,) = [s for s in find_sources(folder)[0] if s.path == name]
    troubles = []
    return list(documents_in(folder, source, begin, end, settings, troubles.append)), troubles


def bytes_of(folder):
    """The hash of every file of a folder, by name."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.iterdir()) if p.name != ".lock"}  # fmt: skip


# ---------------------------------------------------------------------------------------- stages
@pytest.mark.parametrize(
    "data, text",
    [
        ("naïve".encode(), "naïve"),
        (b"\xef\xbb\xbfmark", "mark"),
        ("日本語のテキスト".encode("cp932"), "日本語のテキスト"),
        ("日本語のテキスト".encode("euc_jp"), "日本語のテキスト"),
        ("A mail: 日本語のテキスト".encode("iso2022_jp"), "A mail: 日本語のテキスト"),
        ("日本語のｶﾅ".encode("iso2022_jp_ext"), "日本語のｶﾅ"),
        (b"\x1b[1mbold\x1b[0m", "\x1b[1mbold\x1b[0m"),
        (
            b"\x1b$B is how it begins, costs 3$ \x1b$B~~~~",
            "\x1b$B is how it begins, costs 3$ \x1b$B~~~~",
        ),
        ("café".encode("latin-1"), "café"),
        ("wide".encode("utf-16"), "wide"),
        (b"\0\1\2binary", None),
    ],
)
def test_encodings(data, text):
    assert decode(data)[0] == text


def test_a_mail_in_japanese_may_begin_in_english():
    data = "日本語、\n".encode("iso2022_jp")
    for before in (None, "utf-8", "iso2022_jp_ext"):
        assert decode(data, before) == ("日本語、\n", "iso2022_jp_ext")
    assert decode(b"plain\n", "iso2022_jp_ext")[0] == "plain\n"
    broken = data * 50 + b"\x1b$B\x7f\x7f\x1b(B"  # no character there
    assert decode(broken)[0].startswith("日本語、\n" * 50)


def test_a_few_wrong_bytes_do_not_change_the_encoding():
    data = ("日本語" * 1000).encode() + b"\xff" + "の文".encode()
    assert decode(data)[0] == "日本語" * 1000 + "\ufffdの文"


@pytest.mark.parametrize(
    "wrong, right",
    [("cafÃ© au lait", "café au lait"), ("itâ€™s “quoted”", "it’s “quoted”"), ("naïve ﬁt", None)],
)
def test_what_was_decoded_with_a_wrong_encoding(wrong, right):
    if right is None:
        assert repaired(wrong) == wrong
    else:
        pytest.importorskip("ftfy")
        assert repaired(wrong) == right


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\r\nb\rc \t\n\n\n\n\nd\n", "a\nb\nc\n\nd"),
        ("bell\x07 and\x0cpage", "bell and\npage"),
        ("e\u0301\u200b\u202ex \u2028y", "éx\ny"),
        ("", ""),
    ],
)
def test_plain(text, expected):
    assert plain(text) == expected and plain(expected) == expected


@pytest.mark.parametrize("letter", ["x", "\u00e9"])
def test_long_rows_of_spaces_take_no_longer_than_others(letter):
    """Patterns that try each place of a row of spaces would take minutes for these 2 MB."""
    row = f"{letter} \n" + " " * 1_000_000 + letter
    began = time.process_time()
    assert plain(row) == f"{letter}\n" + " " * 1_000_000 + letter
    assert _BLOCKS.sub("|", " " * 1_000_000 + "x\n \n") == " " * 1_000_000 + "x|"
    assert time.process_time() - began < 5.0


def test_japanese_has_one_spelling():
    assert japanese("２０２６年ｶﾞｽ！！！ええーーっ〜〜") == "2026年ガス!ええーっ〜"
    assert japanese("Ｗｉｄｅ without kana！！") == "Ｗｉｄｅ without kana！！"
    assert japanese("見出し\nＡＢＣ") == "見出し\nＡＢＣ"  # line by line


GUTENBERG = """The Project Gutenberg eBook of A Title

Some licence.

*** START OF THE PROJECT GUTENBERG EBOOK A TITLE ***

Produced by A Person and Others

CHAPTER I

The story itself.

*** END OF THE PROJECT GUTENBERG EBOOK A TITLE ***

More licence of Project Gutenberg.
"""


def test_gutenberg():
    assert without_gutenberg(GUTENBERG) == "CHAPTER I\n\nThe story itself."
    two_lines = GUTENBERG.replace("EBOOK A TITLE", "EBOOK A TITLE THAT IS\nLONG")
    assert without_gutenberg(two_lines) == "CHAPTER I\n\nThe story itself."
    old = "Project Gutenberg\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN*Ver.04*END*\n" + "story " * 50
    assert (
        without_gutenberg(old + "\nEnd of the Project Gutenberg Etext\nx")
        == ("story " * 50).strip()
    )
    about = "Project Gutenberg is a library.\nIts books are free."
    assert without_gutenberg(about) == about


@pytest.mark.parametrize(
    "text, expected",
    [
        ("write to jane.doe+x@mail.example.co.uk now", "write to [EMAIL] now"),
        ("not@an address, a@b", "not@an address, a@b"),
        ("card 4111 1111 1111 1111.", "card [CARD]."),
        ("not a card 4111 1111 1111 1112", "not a card 4111 1111 1111 1112"),
        ("call +81 3-1234-5678 or 090-1234-5678", "call [PHONE] or [PHONE]"),
        ("call (555) 123-4567 or 555-123-4567", "call [PHONE] or [PHONE]"),
        ("in 1999-2003, 12,000 people", "in 1999-2003, 12,000 people"),
        ("host 192.168.1.10 and 2001:db8::1", "host [IP] and [IP]"),
        ("version 1.2.3.4.5 at 12:30:00", "version 1.2.3.4.5 at 12:30:00"),
        ("300.1.1.1 and std::vector", "300.1.1.1 and std::vector"),
    ],
)
def test_personal_data(text, expected):
    assert scrubbed(text) == expected


@pytest.mark.parametrize(
    "text, language",
    [
        ("The cat sat on the mat and it was not happy with that at all.", "en"),
        ("Der Hund und die Katze sind nicht in dem Haus, das sie mit uns bauen.", "de"),
        ("Le chat est dans la maison avec les enfants qui ne sont pas sortis.", "fr"),
        ("El perro está en la casa con los niños que no se lo han llevado.", "es"),
        ("これは日本語の文章です。", "ja"),
        ("这是一个中文句子。", "zh"),
        ("이것은 한국어 문장입니다.", "ko"),
        ("Это предложение на русском языке.", "ru"),
        ("12345 !!!", "unknown"),
        ("xqz wvk jjj ttt", "unknown"),
    ],
)
def test_language(text, language):
    assert language_of(text) == language


def test_symbols():
    assert symbol_share("abc!?") == 0.4 and symbol_share("これは。、") == 0.4
    assert symbol_share("") == 0.0 == symbol_share("plain words 12\n")


def test_long_texts_are_cut_between_paragraphs():
    text = "\n\n".join(f"{i} " + "word " * 30 for i in range(200))
    pieces = cut(text, 2000)
    assert all(1000 <= len(piece) <= 2500 for piece in pieces)
    assert "".join(pieces).replace("\n", "") == text.replace("\n", "")
    assert all(piece.split(" ")[0].isdigit() for piece in pieces)
    assert len(cut("x" * 10_000, 1000)) == 10 and cut("short", 1000) == ["short"]


# --------------------------------------------------------------------------------------- repeats
def slow_shingles(text):
    """The shingles of an ASCII text, in plain Python."""
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_shingles_equal_plain_python():
    texts = [text_of(i, n) for i, n in enumerate((3, 5, 40, 0, 700))] + ["one, TWO... three"]
    runs, starts = shingles_of(texts)
    for text, begin, end in zip(texts, starts, starts[1:], strict=False):
        assert len(set(runs[begin:end].tolist())) == len(slow_shingles(text))
    assert (shingles_of(["A b, c d E"])[0] == shingles_of(["a B c  D\ne!"])[0]).all()
    together, apart = shingles_of(texts)[0], [shingles_of([t])[0] for t in texts]
    assert (together == np.concatenate(apart)).all()
    assert len(shingles_of(["日本語の文章です。"])[0]) == 8 - 4


def test_words_of_long_texts_are_cut_nowhere(monkeypatch):
    text = text_of(1, 5000)
    whole = shingles_of([text])[0]
    monkeypatch.setattr("tinygrad_llm.data.preparation.shingles._SPAN", 333)
    assert (shingles_of([text])[0] == whole).all()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_the_estimate_is_near_the_true_similarity(share):
    errors, draw = [], random.Random(5)
    for i in range(20):
        words = text_of(i, 300).split()
        other = [f"new{draw.random()}" if draw.random() < share / 3 else w for w in words]
        a, b = " ".join(words), " ".join(other)
        true = len(slow_shingles(a) & slow_shingles(b)) / len(slow_shingles(a) | slow_shingles(b))
        assert jaccard(a, b) == pytest.approx(true, abs=1e-12)
        minima = minhash.signatures(*shingles_of([a, b]))
        estimate = float((minima[0] == minima[1]).mean())
        errors.append((estimate - true) / max(0.03, (true * (1 - true) / 128) ** 0.5))
    assert abs(np.mean(errors)) < 4 / 20**0.5 and np.abs(errors).max() < 4.5


def test_pairs_are_detected_as_often_as_the_formula_says():
    draw = random.Random(3)
    detected, expected, n = 0, 0.0, 150
    for i in range(n):
        words = text_of(1000 + i, 60).split()
        other = list(words)
        place = draw.randrange(5, 50)
        other[place : place + 4] = [f"x{draw.random()}" for _ in range(4)]
        pair = [" ".join(words), " ".join(other)]
        keys = minhash.band_keys(minhash.signatures(*shingles_of(pair)))
        detected += bool((keys[0] == keys[1]).any())
        expected += detection_probability(jaccard(*pair))
    deviation = max(1.0, (expected * (1 - expected / n)) ** 0.5)
    assert 20 < expected < 130 and abs(detected - expected) < 4 * deviation, (detected, expected)
    assert detection_probability(0.8) == pytest.approx(0.947, abs=5e-4)


def test_near_duplicates_of_a_list():
    a = text_of(1, 400)
    texts = [a, text_of(2), a.replace(a.split()[50], "changed"), "", "too short", text_of(2)]
    pairs = near_duplicates(texts)
    assert [(p.first, p.second) for p in pairs] == [(1, 5), (0, 2)]
    assert pairs[0].similarity == 1.0 > pairs[1].similarity > 0.9
    assert near_duplicates([]) == [] == near_duplicates(["", ""])
    with pytest.raises(ValueError, match="threshold must be in"):
        near_duplicates(texts, 1.5)
    with pytest.raises(TypeError, match="one text"):
        near_duplicates("a text")


def repeated_texts():
    """Files with an equal document, a nearly equal one, and a paragraph that comes twice."""
    texts = {f"{i}.txt": text_of(i, 240) for i in range(12)}
    texts["4.txt"] = texts["2.txt"]
    words = texts["3.txt"].split(" ")
    words[10] = "changed"
    texts["7.txt"] = " ".join(words)
    again = text_of(77, 24)
    texts["8.txt"] = f"{texts['8.txt']}\n\n{again}"
    texts["9.txt"] = f"{again}\n\n{texts['9.txt']}\n\nshort\n\nshort"
    return texts


@pytest.mark.parametrize("together", [1 << 23, 3])
def test_repeats_are_left_out(tmp_path, monkeypatch, together):
    monkeypatch.setattr(repeats, "TOGETHER", together)
    folder = fill(tmp_path / "texts", repeated_texts())
    manifest = Preparation(folder, tmp_path / "out", PLAIN).run()
    assert manifest["left_out"]["equal"] == 1 and manifest["left_out"]["near"] == 1
    assert manifest["repeated_paragraphs"] == 1
    assert manifest["train"]["documents"] + manifest["val"]["documents"] == 10
    shards = Shards(tmp_path / "out")
    tokenizer = load_tokenizer(shards.tokenizer_path)
    text = "".join(tokenizer.decode(shards.row(p)[:].tolist()) for p in ("train", "val"))
    assert text.count(text_of(77, 24)) == 1 and text.count("short") == 2
    assert text.count(text_of(2, 240)) == 1 and "changed" not in text


@pytest.mark.parametrize("way, paragraphs", [("keep", 0), ("exact", 1), ("near", 2)])
def test_paragraphs_that_are_nearly_equal(tmp_path, way, paragraphs):
    a = text_of(5, 200)
    b = a.replace(a.split()[7], "changed")
    texts = {f"{i}.txt": f"{text_of(10 + i)}\n\n{p}" for i, p in enumerate((a, a, b))}
    folder = fill(tmp_path / "texts", texts)
    settings = Settings(tokenizer="char", repair=False, documents="keep", paragraphs=way)
    manifest = Preparation(folder, tmp_path / "out", settings).run()
    assert manifest["repeated_paragraphs"] == paragraphs


# ------------------------------------------------------------------------------- files and formats
def test_formats(tmp_path):
    folder = fill(tmp_path, {
        "a.txt": "one", "b.md": "# two", "c.jsonl": '{"text": "three"}\n{"text": "four"}\n',
        "d.txt.gz": gzip.compress(b"five"), "e.jsonl.gz": gzip.compress(b'{"text": "six"}'),
        "f.png": b"\x89PNG", "g": "no ending", ".hidden.txt": "x", "empty.txt": "",
    })  # fmt: skip
    sources, skipped = find_sources(folder)
    texts = [text for s in sources for text in documents_in(folder, s, 0, None, PLAIN, print)]
    assert texts == ["one", "# two", "three", "four", "five", "six"]
    assert skipped == {".png file": 1, "other file": 1, "hidden": 1, "empty": 1}


def test_html(tmp_path):
    pytest.importorskip("bs4")
    page = """<html><head><title>t</title><style>p {}</style></head><body><nav>menu</nav>
    <h1>Head</h1><p>First <b>bold</b> text.</p><script>alert(1)</script><ul><li>one<li>two</ul>
    <p>Last &amp; least.</p><footer>imprint</footer></body></html>"""
    fill(tmp_path, {"a.html": page, "deep.html": "<div>" * 10_000 + "deep" + "</div>" * 10_000})
    (text,), _ = read(tmp_path, "a.html")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    assert lines == ["Head", "First bold text.", "one", "two", "Last & least."]
    assert "one\ntwo\n\n" in text  # rows follow each other, paragraphs have a blank line between
    fill(tmp_path, {"poem.html": "<p>a line<br>and another<br/>third</p><p>next</p>"})
    assert read(tmp_path, "poem.html")[0][0].strip() == "a line\nand another\nthird\n\nnext"
    assert "deep" in read(tmp_path, "deep.html")[0][0]


def test_zstandard(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(b"packed " * 100)
    bomb = zstandard.ZstdCompressor().compress(bytes(300 << 20))
    fill(tmp_path, {"a.txt.zst": packed + packed, "bomb.jsonl.zst": bomb, "bad.txt.zst": b"\x28\xb5"
                    b"\x2f\xfdnonsense"})  # fmt: skip
    assert read(tmp_path, "a.txt.zst")[0] == ["packed " * 200]
    for name in ("bomb.jsonl.zst", "bad.txt.zst"):
        documents, (line,) = read(tmp_path, name)
        assert documents == [] and line.startswith(name)


def test_lines_of_json_that_are_broken(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_llm.data.preparation.formats.LARGEST_LINE", 2000)
    lines = ['{"text": "good"}', "{broken", '{"other": 1}', '["a list"]', '{"text": 3}',
             '{"text": "' + "x" * 5000 + '"}', "", "[" * 1500, '{"text": "a\\ud800"}', "\xff",
             '{"text": "last"}']  # fmt: skip
    fill(tmp_path, {"a.jsonl": "\n".join(lines).encode("latin-1")})
    texts, troubles = read(tmp_path, "a.jsonl")
    assert texts == ["good", "a\ud800", "last"]
    assert [line.split(":")[0].removesuffix(" is not JSON") for line in troubles] == [
        f"a.jsonl, line {n}" for n in (2, 3, 4, 5, 6, 8)
    ] + ["a.jsonl, line 10 is not UTF-8"]
    assert "longer than" in troubles[4] and "under 'text'" in troubles[1]


@pytest.mark.parametrize("name", ["bomb.txt.gz", "cut.txt.gz", "noise.txt.gz"])
def test_packed_files_that_lie(tmp_path, name, monkeypatch):
    monkeypatch.setattr("tinygrad_llm.data.preparation.formats.LARGEST_DOCUMENT", 1 << 16)
    data = {"bomb.txt.gz": gzip.compress(b"a" * (8 << 20)), "noise.txt.gz": b"no gzip at all",
            "cut.txt.gz": gzip.compress(os.urandom(3000).hex().encode())[:2000]}[name]  # fmt: skip
    fill(tmp_path, {name: data})
    documents, (line,) = read(tmp_path, name)
    assert line.startswith(f"{name}: ") and sum(map(len, documents)) < 6 << 20
    assert ("200 times" in line) == (name == "bomb.txt.gz")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_closed_folder_is_left_out_and_counted(tmp_path, monkeypatch):
    fill(tmp_path / "t", {"a.txt": text_of(1), "closed/b.txt": text_of(2), "open/c.txt": "x"})
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("tinygrad_llm.data.preparation.sources.os.scandir", closed)
    sources, skipped = find_sources(tmp_path / "t")
    assert [s.path for s in sources] == ["a.txt", "open/c.txt"]
    assert skipped == {"folder that may not be read": 1}
    with pytest.raises(PermissionError):
        find_sources(tmp_path / "t" / "closed")


def test_links_and_pipes_are_not_followed(tmp_path):
    fill(tmp_path / "secret", {"key.txt": "secret"})
    folder = fill(tmp_path / "texts", {"a.txt": "open"})
    (folder / "link.txt").symlink_to(tmp_path / "secret" / "key.txt")
    (folder / "folder").symlink_to(tmp_path / "secret")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    sources, skipped = find_sources(folder)
    assert [s.path for s in sources] == ["a.txt"]
    assert skipped == {"symbolic link": 3, "not a file": 1}


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 10**6])
def test_a_file_read_in_ranges_is_the_file(tmp_path, size):
    lines = "".join(json.dumps({"text": f"{i} " + "é" * (i % 9)}) + "\n" for i in range(60))
    text = "\n\n".join(f"paragraph {i}\nof two linés" for i in range(80))
    fill(tmp_path, {"a.jsonl": lines, "b.txt": text})
    parts = {"a.jsonl": [], "b.txt": []}
    for unit in units_of(find_sources(tmp_path)[0], size):
        for source in unit.sources:
            parts[source.path] += documents_in(
                tmp_path, source, unit.begin, unit.end, PLAIN, pytest.fail
            )
    assert parts["a.jsonl"] == [json.loads(line)["text"] for line in lines.splitlines()]
    assert "".join(parts["b.txt"]) == text


def test_documents_between_separators(tmp_path):
    fill(tmp_path, {"a.txt": "one\n<end>\ntwo\nlines\n  <end> \n\n<end>\nlast"})
    settings = Settings(separator="<end>")
    assert read(tmp_path, "a.txt", settings)[0] == ["one", "two\nlines", "last"]


def test_documents_have_the_length_that_was_asked_for(tmp_path):
    text = text_of(1, 300)
    fill(tmp_path / "texts", {"a.txt": text})
    for most, documents in ((100_000, 1), (500, len(text) // 500)):
        settings = dataclasses.replace(PLAIN, most_characters=most, val_fraction=0.0)
        Preparation(tmp_path / "texts", tmp_path / f"{most}", settings).run()
        shards = Shards(tmp_path / f"{most}")
        ends = [shards.documents()[i] for i in range(len(shards.documents()))]
        assert documents <= len(ends) <= 1.5 * documents
        assert all(end - begin - 1 <= 1.25 * most for begin, end in ends)
        written = load_tokenizer(shards.tokenizer_path).decode(shards.row()[:].tolist())
        assert written.replace("<|endoftext|>", "\n").split() == text.split()


def test_units_follow_from_names_and_sizes():
    sources = [Source(f"{i}.txt", size, "text", "") for i, size in enumerate((5, 5, 30, 4, 9))]
    units = units_of(sources, 10)
    assert [[s.path for s in u.sources] for u in units] == [
        ["0.txt", "1.txt"], ["2.txt"], ["2.txt"], ["2.txt"], ["3.txt"], ["4.txt"]
    ]  # fmt: skip
    assert [(u.begin, u.end) for u in units[1:4]] == [(0, 10), (10, 20), (20, 30)]


# ------------------------------------------------------------------------------------- whole runs
def corpus(folder):
    """Some 60 documents in a few formats, so small units make several of them."""
    texts = {f"{i:02}.txt": text_of(i) for i in range(30)}
    texts |= repeated_texts()
    texts["rows.jsonl"] = "".join(json.dumps({"text": text_of(100 + i)}) + "\n" for i in range(20))
    texts["old.txt.gz"] = gzip.compress(text_of(300).encode(), mtime=0)
    return fill(folder, texts)


def small_units(monkeypatch):
    monkeypatch.setattr("tinygrad_llm.data.preparation.sources._SMALLEST", 6000)


def test_one_and_two_processes_write_the_same_bytes(tmp_path, monkeypatch):
    small_units(monkeypatch)
    folder = corpus(tmp_path / "texts")
    settings = Settings(tokenizer="bpe", vocab_size=300, repair=False)
    for n in (1, 2):
        preparation = Preparation(folder, tmp_path / f"{n}", settings)
        assert len(preparation.units) > 5
        preparation.run(n)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")
    assert "work" not in bytes_of(tmp_path / "1")


class Killed(BaseException):
    """Stands for a process that ends anywhere."""


def test_a_run_that_was_stopped_anywhere_goes_on(tmp_path, monkeypatch):
    """Every replacement of a file is a place to stop at; kills by the system are in test_kill."""
    small_units(monkeypatch)
    folder = corpus(tmp_path / "texts")
    Preparation(folder, tmp_path / "whole", PLAIN).run()
    import tinygrad_llm.files.atomic as atomic

    replace, calls = atomic._replace, [0, 0]

    def stop(temporary, path):
        calls[0] += 1
        if calls[0] == calls[1]:
            raise Killed
        replace(temporary, path)

    monkeypatch.setattr(atomic, "_replace", stop)
    monkeypatch.setattr(atomic.os, "fsync", lambda handle: None)
    stops, draw = 0, random.Random(11)
    while True:
        calls[:] = [0, draw.randrange(1, 24)]
        try:
            Preparation(folder, tmp_path / "cut", PLAIN).run()
            break
        except Killed:
            stops += 1
    assert stops >= 3
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


def test_the_manifest_counts_everything(tmp_path):
    folder = corpus(tmp_path / "texts")
    fill(folder, {"short.txt": "x", "marks.txt": "!?" * 200, "same.txt": "to be or not " * 200})
    preparation = Preparation(folder, tmp_path / "out", PLAIN)
    manifest = preparation.run()
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    left_out = manifest["left_out"]
    assert (left_out["length"], left_out["symbols"], left_out["repetition"]) == (1, 1, 1)
    kept = manifest["train"]["documents"] + manifest["val"]["documents"]
    assert manifest["read"]["documents"] == kept + sum(left_out.values())
    rows = [json.loads(line) for line in (tmp_path / "out" / "sources.jsonl").open()]
    assert [row["path"] for row in rows] == sorted(p.name for p in folder.iterdir())
    for row in rows:
        assert row["sha256"] == hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest()
    assert manifest["settings"] == PLAIN.stored()
    for part in ("train", "val"):
        for shard in manifest["shards"][part]:
            data = (tmp_path / "out" / shard["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == shard["sha256"]
            assert len(data) == 2 * shard["tokens"]


def test_documents_are_divided_by_their_hash(tmp_path):
    texts = {f"{i}.txt": text_of(i) for i in range(40)}
    folder = fill(tmp_path / "texts", texts)
    settings = Settings(tokenizer="char", repair=False, val_fraction=0.3, documents="exact")
    Preparation(folder, tmp_path / "out", settings).run()
    shards = Shards(tmp_path / "out")
    tokenizer = load_tokenizer(shards.tokenizer_path)
    val = tokenizer.decode(shards.row("val")[:].tolist()).split("<|endoftext|>")[:-1]
    assert set(val) == {t for t in texts.values() if hash_of(t) < 0.3 * 2**64}
    few = fill(tmp_path / "few", {"a.txt": text_of(1), "b.txt": text_of(2)})
    Preparation(few, tmp_path / "two", settings).run()
    assert len(Shards(tmp_path / "two").documents("val")) == 1  # one of two at least


def test_a_large_vocabulary_has_32_bits(tmp_path, monkeypatch):
    folder = fill(tmp_path / "texts", {f"{i}.txt": text_of(i) for i in range(4)})
    monkeypatch.setattr(
        "tinygrad_llm.data.preparation.tokens.dtype_for", lambda vocab_size: np.dtype("<u4")
    )
    monkeypatch.setattr(
        "tinygrad_llm.data.preparation.run.dtype_for", lambda vocab_size: np.dtype("<u4")
    )
    Preparation(folder, tmp_path / "out", PLAIN).run()
    shards = Shards(tmp_path / "out")
    tokenizer = load_tokenizer(shards.tokenizer_path)
    assert shards.dtype == np.uint32
    assert tokenizer.decode(shards.row()[:].tolist()).count("<|endoftext|>") == 3


# ---------------------------------------------------------------------------------- the command
@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["prepare", *map(str, arguments)])
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


CHAR = ("--tokenizer", "char", "--no-repair", "--processes", 1)


def test_the_command_plans_runs_and_says_what_it_left_out(cli, tmp_path):
    fill(corpus(tmp_path / "texts"), {"bad.jsonl": "{\n", "x.png": "x"})
    code, out, _ = cli("texts", "--plan", *CHAR)
    assert code == 0 and "per process" in out and not (tmp_path / "shards").exists()
    code, out, err = cli("texts", *CHAR)
    assert code == 0, err
    assert "1 × .png file" in out and "1 equal, 1 near" in out
    assert "pretrain --data shards" in out and "left out     bad.jsonl, line 1" in err
    code, _, err = cli("texts", *CHAR)
    assert code == 2 and "holds a finished preparation" in err


def test_an_interrupted_run_is_not_mixed_with_other_settings(cli, tmp_path):
    folder = corpus(tmp_path / "texts")
    preparation = Preparation(folder, tmp_path / "shards", PLAIN)
    preparation.store.work.mkdir(parents=True)
    from tinygrad_llm.files.json_files import write_json

    write_json(preparation.store.work / "units.json", preparation._description())
    code, _, err = cli("texts", *CHAR, "--least-characters", 7)
    assert code == 2 and "was interrupted, with other settings" in err
    fill(folder, {"new.txt": "new"})
    code, _, err = cli("texts", *CHAR)
    assert code == 2 and "with other files" in err


@pytest.mark.parametrize("error, code, words", [
    (KeyboardInterrupt(), 130, "tinygrad-llm: stopped"),
    (OSError(errno.ENOSPC, "No space left on device", "shards/work/00000.text"), 2,
     "shards/work/00000.text: the disk is full. The same command continues from here"),
])  # fmt: skip
def test_a_run_that_was_stopped_says_that_it_goes_on(
    cli, tmp_path, monkeypatch, error, code, words
):
    corpus(tmp_path / "texts")

    def stop(*arguments):
        raise error

    monkeypatch.setattr("tinygrad_llm.data.preparation.work.tokenize_unit", stop)
    ended, out, err = cli("texts", *CHAR)
    assert ended == code and words in err and "The same command continues from here" in out + err
    assert err.count("\n") == 1, err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli("texts", *CHAR)[0] == 0


def test_a_run_killed_while_it_wrote_its_first_file_goes_on(cli, tmp_path):
    """Only the file's first part is there, under its temporary name: seen with 4,106 files."""
    corpus(tmp_path / "texts")
    work = tmp_path / "shards" / "work"
    work.mkdir(parents=True)
    (work / ".units.json-123-0a0b.part").write_bytes(b'{"settings": {"tok')
    code, _, err = cli("texts", *CHAR)
    assert code == 0, err
    assert cli("texts", "--out", "another", *CHAR)[0] == 0
    assert bytes_of(tmp_path / "shards") == bytes_of(tmp_path / "another")
    (tmp_path / "mine" / "work").mkdir(parents=True)
    (tmp_path / "mine" / "work" / "thesis.txt").write_text("mine")
    code, _, err = cli("texts", "--out", "mine", *CHAR)
    assert code == 2 and "mine is not empty" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nosuch"], "nosuch does not exist"),
        (["texts/a.txt"], "is not a folder"),
        (["empty"], "holds no files in txt"),
        (["pictures"], "only 1 × .png file"),
        (["poor"], "nothing is left of the texts"),
        (["texts", "--similarity", "2"], "--similarity must be above 0"),
        (["texts", "--val-fraction", "1"], "--val-fraction must be 0 or more and below 1"),
        (["texts", "--val-fraction", "nan"], "--val-fraction must be a number"),
        (["texts", "--languages", "en,xx"], "--languages: xx is unknown"),
        (["texts", "--documents", "all"], "--documents must be keep, exact or near"),
        (["texts", "--processes", "0"], "--processes must be between 1"),
        (["texts", "--tokenizer", "nosuch.json"], "--tokenizer: nosuch.json does not exist"),
        (["texts", "--vocab-size", "0"], "--vocab-size must be at least 1"),
        (["texts", "--most-characters", "40"], "--most-characters must be at least 50"),
        (["texts", "--vocab-size", "10"], "--tokenizer: vocab_size must be at least 257"),
        (["texts", "--separator", ""], "--separator must be one line"),
        (["texts", "--out", "texts"], "is not empty"),
        (["texts", "--out", "texts/a.txt"], "is not a folder"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path, arguments, words):
    fill(tmp_path / "texts", {"a.txt": text_of(1), "b.txt": text_of(2)})
    fill(tmp_path / "empty", {})
    fill(tmp_path / "pictures", {"a.png": "x"})
    fill(tmp_path / "poor", {"a.txt": "x"})
    known = {"--tokenizer": "char"} if "--vocab-size" not in arguments else {"--tokenizer": "bpe"}
    extra = [] if "--tokenizer" in arguments else list(sum(known.items(), ()))
    code, _, err = cli(*arguments, *extra, "--no-repair",
                       *(() if "--processes" in arguments else ("--processes", 1)))  # fmt: skip
    assert code == 2 and words in err and err.count("\n") == 1, err


@pytest.mark.parametrize(
    "tokenizer", [["--tokenizer", "nosuch.json"], ["--tokenizer", "bpe", "--vocab-size", "10"]]
)
def test_a_tokenizer_that_cannot_be_made_is_refused_before_the_work(cli, tmp_path, tokenizer):
    fill(tmp_path / "texts", {"a.txt": text_of(1)})
    code, _, err = cli("texts", *tokenizer, "--no-repair", "--processes", 1)
    assert code == 2 and "--tokenizer: " in err
    assert not (tmp_path / "shards" / "work").exists()


@pytest.mark.parametrize("name, package", [("a.html", "bs4"), ("a.txt.zst", "zstandard"),
                                           ("a.txt", "ftfy")])  # fmt: skip
def test_a_missing_package_is_named(cli, tmp_path, monkeypatch, name, package):
    fill(tmp_path / "texts", {name: "x"})
    monkeypatch.setitem(sys.modules, package, None)
    for other in {"bs4", "zstandard", "ftfy"} - {package}:
        monkeypatch.setitem(sys.modules, other, sys)
    code, _, err = cli("texts", "--tokenizer", "char")
    assert code == 2 and f'needs {package}: pip install "tinygrad_llm[prepare]"' in err
