"""Shards: read at any place, mixed by weight, packed with documents, resumed, and damaged."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.data.batches import TokenBatches
from tinygrad_llm.data.order import Permutation
from tinygrad_llm.data.shard_batches import PACKINGS, ShardBatches, packed_in_order
from tinygrad_llm.data.shards import Shards
from tinygrad_llm.functions.attention import within_documents
from tinygrad_llm.models import registry
from tinygrad_llm.text import CharTokenizer
from tinygrad_llm.training import find_checkpoint
from tinygrad_llm.training.presets import resolve
from tinygrad_llm.training.shard_pretraining import kind_of

V, END = 90, 89


def write(folder, parts, dtype="uint16", end=END, vocab_size=V):
    """A folder of shards. parts: {"train": [shard, ...], "val": [...]}, a shard: a list of
    documents, a document: its tokens with the end token."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = {}
    for part, shards in parts.items():
        listed[part] = []
        for n, documents in enumerate(shards):
            name = f"{part}-{n:05}.bin"
            tokens = np.concatenate([np.array(d) for d in documents]).astype(dtype)
            tokens.tofile(folder / name)
            np.cumsum([len(d) for d in documents]).astype("<u8").tofile(
                folder / name.replace("bin", "idx")
            )
            row = {"file": name, "tokens": len(tokens), "documents": len(documents)}
            listed[part].append(row)
    manifest = {"format": "tinygrad_llm shards", "version": 1, "dtype": dtype, "end": end,
                "vocab_size": vocab_size, "shards": listed}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    CharTokenizer([chr(33 + i) for i in range(V - 1)], ["<|endoftext|>"]).save(
        folder / "tokenizer.json"
    )
    return folder


def documents(seed, n, longest=40, end=END):
    draw = random.Random(seed)
    tail = [] if end is None else [end]
    return [[draw.randrange(V - 1) for _ in range(draw.randint(1, longest))] + tail
            for _ in range(n)]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    train = [documents(1, 9), documents(2, 1), documents(3, 30)]
    return write(tmp_path / "shards", {"train": train, "val": [documents(4, 8)]})


def all_of(folder, part="train"):
    shards = json.loads((folder / "manifest.json").read_text())["shards"][part]
    return np.concatenate([np.fromfile(folder / s["file"], "<u2") for s in shards])


# ---------------------------------------------------------------------------------------- reading
def test_slices_are_those_of_one_row(folder):
    row, whole = Shards(folder).row(), all_of(folder)
    assert len(row) == len(whole)
    for begin, end in ((0, 3), (0, len(whole)), (5, 5), (100, 500), (-7, None), (9, 10**9)):
        assert (row[begin:end] == whole[begin:end]).all()
    with pytest.raises(ValueError, match="step of 1"):
        row[::2]


def test_where_documents_begin_and_end(folder):
    shards = Shards(folder)
    expected = documents(1, 9) + documents(2, 1) + documents(3, 30)
    bounds = [shards.documents()[i] for i in range(len(shards.documents()))]
    assert [shards.row()[a:b].tolist() for a, b in bounds] == expected


def test_few_files_stay_open(tmp_path):
    shards = Shards(write(tmp_path / "s", {"train": [documents(i, 1) for i in range(50)],
                                           "val": []}))  # fmt: skip
    row = shards.row()
    assert (row[:] == all_of(tmp_path / "s")).all() and len(row.files._open) == 32


@pytest.mark.parametrize("n", [1, 2, 3, 10, 257, 1000])
def test_a_permutation_has_every_number_once(n):
    order = Permutation(n, 7, 1)
    numbers = [order[i] for i in range(n)]
    assert sorted(numbers) == list(range(n)) and numbers == [Permutation(n, 7, 1)[i]
                                                             for i in range(n)]  # fmt: skip
    if n > 100:
        assert numbers != [Permutation(n, 8, 1)[i] for i in range(n)] and numbers != sorted(numbers)
        steps = np.diff(numbers)
        assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.2 and len(set(steps)) > n // 2
    with pytest.raises(IndexError):
        order[n]


def test_very_many_windows_are_ordered_without_memory(folder, monkeypatch):
    monkeypatch.setattr("tinygrad_llm.data.batches._MANY", 10)
    batches = TokenBatches(Shards(folder).row(), 1, 16, seed=3)
    starts = [batches._start(i) for i in range(batches.windows)]
    assert len({s // 16 for s in starts}) == batches.windows > 10
    assert isinstance(batches._order, Permutation)


# ---------------------------------------------------------------------------------------- batches
def take(batches, n):
    return [[t.numpy() for t in batch] for batch, _ in zip(iter(batches), range(n), strict=False)]


def test_one_folder_has_the_windows_of_its_row(folder):
    shards = Shards(folder)
    ours = take(ShardBatches([shards], 3, 16, seed=5), 20)
    plain = take(TokenBatches(all_of(folder), 3, 16, seed=5), 20)
    for a, b in zip(ours, plain, strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("packing", PACKINGS)
def test_weights_hold_at_any_time_and_a_stream_goes_on(folder, tmp_path, packing):
    other = write(tmp_path / "other", {"train": [documents(8, 20)], "val": []})
    sources = [Shards(folder), Shards(other)]

    def new():
        return ShardBatches(sources, 4, 16, weights=[3, 1], packing=packing, seed=2)

    batches = new()
    stream = iter(batches)
    for _ in range(30):
        next(stream)
        total = sum(batches.taken)
        assert abs(batches.taken[0] - 0.75 * total) <= 2 * 16
    state = json.loads(json.dumps(batches.state_dict()))
    expected = [[t.numpy() for t in next(stream)] for _ in range(5)]
    again = new()
    again.load_state_dict(state)
    for a, b in zip(expected, take(again, 5), strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
    changed = ShardBatches(sources, 4, 16, weights=[1, 1], packing=packing, seed=2)
    with pytest.raises(ValueError, match="at weights="):
        changed.load_state_dict(state)


@pytest.mark.parametrize("end", [END, None])
def test_packed_rows_have_every_token_once(tmp_path, end):
    """The targets of an epoch are all tokens, each after the token that stands before it."""
    texts = [documents(1, 9, end=end), documents(3, 30, end=end)]
    shards = Shards(write(tmp_path / "s", {"train": texts, "val": [documents(4, 5)]}, end=end))
    batches = ShardBatches([shards], 3, 24, packing="documents", seed=4)
    pairs, empty, places = [], 0, 0
    pieces = batches.pieces[0]
    stream = iter(batches)
    while pieces.place[0] < len(shards.documents()):
        x, documents_, y = (t.numpy() for t in next(stream))
        assert (np.diff(documents_, axis=1) >= 0).all() and (documents_[:, 0] == 0).all()
        pairs += list(zip(x[y != -100].tolist(), y[y != -100].tolist(), strict=True))
        empty += (y == -100).sum()
        places += y.size
    expected = []
    for text in [t for shard in texts for t in shard]:
        before = [end] if end is not None else []
        full = before + text
        expected += list(zip(full[:-1], full[1:], strict=True))
    for pair in expected:  # the last batch may have begun the next epoch
        pairs.remove(pair)
    assert len(pairs) < 3 * 24 and empty < 0.15 * places


def test_validation_documents_in_order(folder):
    shards = Shards(folder)
    batches = packed_in_order(shards, 3, 24, 10**6)
    targets = np.concatenate([b[-1].numpy().ravel() for b in batches])
    assert sorted(targets[targets != -100]) == sorted(all_of(folder, "val"))
    assert sum((b[-1].numpy() != -100).sum() for b in packed_in_order(shards, 1, 24, 30)) < 80


# ------------------------------------------------------------------------ attention of documents
@pytest.mark.parametrize("name", ["gpt", "llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_document_equals_itself_alone(name, dtype):
    """Loss and gradients of packed rows are those of the documents one by one."""
    torch.manual_seed(0)
    family = registry.trainable()[name]
    config = family.presets["tiny"].resized(
        vocab_size=50, context_length=16, emb_dim=24, n_heads=4, n_layers=2
    )
    model = family.model(config).eval().to(dtype)
    ids = torch.randint(0, 50, (3, 14))
    targets = torch.randint(0, 50, (3, 14))
    numbers = np.array([[0] * 5 + [1] + [2] * 8, [0] * 14, [4] * 2 + [3] * 12])
    with within_documents(numbers):
        loss = model.loss(ids, targets)
    loss.backward()
    packed = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    total = 0.0
    for row, own in enumerate(numbers):
        for number in np.unique(own):
            at = np.flatnonzero(own == number)
            a, b = at[0], at[-1] + 1
            part = model.loss(ids[row : row + 1, a:b], targets[row : row + 1, a:b])
            (part * (len(at) / 42)).backward()
            total += part.item() * len(at) / 42
    close = 1e-5 if dtype is torch.float32 else 1e-12
    assert loss.item() == pytest.approx(total, rel=close)
    for g, p in zip(packed, model.parameters(), strict=True):
        assert abs(g - p.grad).max() <= close * abs(p.grad).max() + 1e-7


def test_what_cannot_stay_within_documents_is_refused():
    family = registry.trainable()["gpt"]
    config = family.presets["tiny"].resized(
        vocab_size=50, context_length=16, emb_dim=24, n_heads=4, n_layers=1
    )
    model, ids = family.model(config).eval(), torch.zeros(2, 8, dtype=torch.int64)
    with within_documents(ids):
        for options in ({"cache": model.new_cache()}, {"padding": torch.tensor([1, 0])}):
            with pytest.raises(RuntimeError):
                model(ids, **options)
        with pytest.raises(RuntimeError, match="rows of 8 tokens, got 4"):
            model(ids[:, :4])
        with pytest.raises(ValueError, match="already"), within_documents(ids):
            pass
    assert model(ids[:, :4]).shape == (2, 4, 50)
    with pytest.raises(ValueError, match=r"shape \(B, T\)"), within_documents(ids[0]):
        pass


# -------------------------------------------------------------------------------- damaged folders
def spoil_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda f: (f / "manifest.json").unlink(), "holds no manifest.json"),
        (lambda f: (f / "train-00001.bin").unlink(), "No such file"),
        (lambda f: (f / "train-00001.bin").write_bytes(b"xx"), "has 2 bytes and should have"),
        (lambda f: (f / "val-00000.idx").write_bytes(b""), "has 0 bytes and should have"),
        (lambda f: spoil_manifest(f, version=2), "is not the manifest of shards"),
        (lambda f: spoil_manifest(f, dtype="float32"), "dtype must be uint16 or uint32"),
        (lambda f: spoil_manifest(f, end=V), "end must be a whole number"),
        (lambda f: spoil_manifest(f, vocab_size="9"), "vocab_size must be a whole number"),
        (lambda f: spoil_manifest(f, shards=[]), "there is no list of train shards"),
        (lambda f: spoil_manifest(f, shards={"train": [{"file": "../x", "tokens": 1,
                                                        "documents": 1}]}), "described by '../x'"),
        (lambda f: (f / "manifest.json").write_text("{"), "is not JSON"),
    ],
)  # fmt: skip
def test_damaged_folders_are_named(folder, spoil, words):
    spoil(folder)
    with pytest.raises((ValueError, OSError), match=words):
        Shards(folder)


def test_damaged_contents_are_noticed_when_they_are_read(folder):
    spoil_manifest(folder, vocab_size=50, end=49)
    with pytest.raises(ValueError, match="there is a token"):
        Shards(folder).row()[:]
    index = folder / "train-00000.idx"
    index.write_bytes(b"\xff" * index.stat().st_size)
    with pytest.raises(ValueError, match="is damaged"):
        Shards(folder).documents()[0]


# ------------------------------------------------------------------------------------ pretraining
SMALL = ("--context-length", 16, "--emb-dim", 16, "--n-heads", 2, "--n-layers", 1, "--batch-size",
         4, "--sample-tokens", 4, "--checkpoint-every", 3)  # fmt: skip


def pretrain(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *map(str, arguments)])
    shown = capsys.readouterr()
    return ended.value.code or 0, shown.out, shown.err


@pytest.mark.parametrize("packing", [pytest.param("windows", marks=pytest.mark.slow), "isolated"])
def test_a_run_from_shards_goes_on_to_the_last_bit(folder, tmp_path, capsys, packing):
    data = ("--data", f"{folder}=2,{folder}", "--packing", packing)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, out, err = pretrain(capsys, *data, *SMALL, "--steps", 6, "--out", whole)
    assert code == 0 and "weight 2" in out and f"batches are {packing}" in out, err
    assert f"validation   the held-out documents of {folder}\n" in out
    assert pretrain(capsys, *data, *SMALL, "--steps", 6, "--out", cut)[0] == 0
    for path in (cut / "checkpoints").glob("*6"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    moved = tmp_path / "moved"
    folder.rename(moved)
    code, _, err = pretrain(capsys, "--resume", cut, "--data", f"{moved}=2,{moved}")
    assert code == 0, err
    a, b = find_checkpoint(whole), find_checkpoint(cut)
    assert a.step == b.step == 6
    for name in ("model.safetensors", "training.safetensors"):
        assert (a.path / name).read_bytes() == (b.path / name).read_bytes()
    spoil_manifest(moved, note="changed")
    code, _, err = pretrain(capsys, "--resume", cut, "--data", f"{moved}=2,{moved}", "--steps", 9)
    assert code == 2 and "are not the shards and weights" in err


def test_bytes_are_those_of_the_tokens_whose_loss_is_measured(tmp_path):
    """Bits per byte: both numbers are of the first 200,000 tokens, not of fewer or of others."""
    characters = [chr(33 + i) for i in range(V - 2)] + ["\u3042"]  # the last one has 3 bytes
    rows = [[1] * 24_000 + [END], [V - 2] * 180_000 + [1] * 40_000 + [END]]
    write(tmp_path / "S", {"train": [documents(1, 9)], "val": [rows]})
    CharTokenizer(characters, ["<|endoftext|>"]).save(tmp_path / "S" / "tokenizer.json")
    text = "ab" * 945_000 + "a" * 200_000 + "\u3042" * 10_000  # the last tenth is for validation
    (tmp_path / "text.txt").write_text(text, "utf-8")
    small = {"context_length": 16, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "steps": 1}
    for given, expected in (
        ({"data": str(tmp_path / "S")}, (24_000 + 3 * (200_000 - 24_001)) / 200_000),
        ({"corpus": str(tmp_path / "text.txt"), "tokenizer": "char"}, 1.0),
    ):
        options = resolve({**given, **small}, {})
        run = kind_of(options.model, options.data)(options, False)
        run.prepare()
        assert run.bytes_per_token == pytest.approx(expected), given
        assert run.trainer.validation.predicted == 199_999


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--data", "nosuch"], "--data: nosuch does not exist"),
        (["--data", "S=0"], "weights above 0"),
        (["--data", ","], "--data is FOLDER"),
        (["--data", "S", "--tokenizer", "char"], "--tokenizer and --data exclude"),
        (["the-verdict", "--data", "S"], "CORPUS and --data exclude"),
        (["--packing", "isolated"], "needs --data"),
        (["--data", "S", "--packing", "x"], "--packing must be windows, documents, isolated"),
        (["--data", "S", "--context-length", "4000"], "is too long for"),
        (["--data", "S", "--model", "bert"], "bert needs special tokens"),
        (["--data", "S", "--packing", "isolated", "--attention", "deltanet"], "GatedDeltaNet"),
        (["--data", "S", "--packing", "isolated", "--gradient-checkpointing"], "exclude each"),
        (["--data", "N"], "no documents for validation"),
        (["--data", "S,O"], "different tokenizers"),
    ],
)
def test_bad_data_is_one_line(folder, tmp_path, capsys, arguments, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename("S")
    write(Path("N"), {"train": [documents(1, 9)], "val": []})
    write(Path("O"), {"train": [documents(1, 9)], "val": []})
    CharTokenizer("ab").save("O/tokenizer.json")
    code, _, err = pretrain(capsys, *arguments, "--plan", "--steps", 2)
    assert code == 2 and words in err and err.count("\n") == 1, err


# -------------------------------------------------------------------------------------- its memory
_READ = """
import sys
from tinygrad_llm.data.shards import Shards
from tinygrad_llm.data.shard_batches import ShardBatches
from tinygrad_llm.training.presets import resolve
from tinygrad_llm.training.shard_pretraining import ShardPretraining

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if name in line)

for packing in ("windows", "isolated"):
    stream = iter(ShardBatches([Shards(sys.argv[1])], 16, 1024, packing=packing, seed=1))
    for _ in range(50):
        next(stream)
    before = kilobytes("VmRSS")
    for _ in range(1500):
        next(stream)
    print(packing, before, kilobytes("VmRSS") - before, kilobytes("VmHWM"))

small = {"context_length": 64, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "batch_size": 8}
run = ShardPretraining(resolve({"data": sys.argv[1], "steps": 600, **small}, {}), False)
run.prepare()
for step in range(600):
    run.trainer._train_step()
    if step == 99:
        before = kilobytes("VmRSS")
print("trains", before, kilobytes("VmRSS") - before, kilobytes("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_the_same_on_50_gigabytes(tmp_path):
    """A sparse file of 25·10⁹ tokens: 1,500 batches, 24 million tokens, and no more memory; and a
    run of 600 steps that trains on it."""
    shards = write(tmp_path / "s", {"train": [documents(1, 2)], "val": [documents(2, 2)]})
    tokens, length = 25_000_000_000, 2500
    with open(shards / "train-00000.bin", "r+b") as file:
        file.truncate(2 * tokens)
    ends = np.arange(1, tokens // length + 1, dtype="<u8") * np.uint64(length)
    ends.tofile(shards / "train-00000.idx")
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["shards"]["train"] = [
        {"file": "train-00000.bin", "tokens": tokens, "documents": len(ends)}
    ]
    (shards / "manifest.json").write_text(json.dumps(manifest))
    done = subprocess.run([sys.executable, "-c", _READ, shards], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["windows", "isolated", "trains"]
    for line in lines:
        _, before, more, most = line.split()
        assert int(more) < 4 << 10 and int(most) < int(before) + (8 << 10), line
