"""Options of every command and of the trainers with random values: a plan, or one clear line.

CI takes 1,450 of them (`-m "slow and ci"`), the normal suite 68, `-m slow` 36,000. A command may
do its work or refuse (exit codes 0 and 2, or 1 for a run that diverges), within 5 seconds and
500 MB and without an internal error. Memory is measured where a number can make it large, because
measuring doubles the time of small steps.
"""

from __future__ import annotations

import json
import random
import time
import tracemalloc

import pytest
from mutations import NASTY

from tinygrad_llm.cli import main
from tinygrad_llm.finetune.options import ClassifyOptions, DPOOptions, InstructOptions
from tinygrad_llm.finetune.tagging.options import NerOptions
from tinygrad_llm.training import memory_needed
from tinygrad_llm.training.options import OptionError, TrainingOptions, from_keywords
from tinygrad_llm.training.presets import PretrainOptions

SECONDS, BYTES = 5.0, 500e6  # of this process's time: other programs do not count
MEMORY = 2 << 30  # of the machine: on a large one the largest sizes would really be trained
TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 60
VALUES = [
    "0", "-1", "1", "2", "3", "7", "16", "64", "257", "1000", "65536", "1000000", "2147483648",
    "9223372036854775807", "9223372036854775808", "1" + "0" * 400, "0.5", "-0.5", "1e-30", "1e300",
    "1e400", "nan", "inf", "-inf", "", " ", "x", "true", "no", "bpe", "char", "gpt2", "cpu", "cuda",
    "cuda:99", "meta", "float16", "bfloat16", "a,b", ",", "*", "[", "att.*", "../x", "/dev/null",
    "/", ".", "~", "\x1b[31m", "\udcff", "é", "-", "--", "0x10", "1_000", "١٢", "None", "null",
]  # fmt: skip
SMALL = {
    "context_length": 16, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "batch_size": 2,
}  # fmt: skip
COMMANDS = {
    "pretrain": (PretrainOptions, ["text.txt", "--plan", "--tokenizer", "char"]),
    "finetune classify": (ClassifyOptions, ["rows.json", "--plan", "--vocab-size", "270"]),
    "finetune instruct": (InstructOptions, ["entries.json", "--plan", "--base", "base"]),
    "finetune dpo": (DPOOptions, ["pairs.json", "--plan", "--base", "base"]),
    "finetune ner": (NerOptions, ["sample", "--plan"]),
}
OTHERS = {  # commands without a dataclass of options: their flags
    "generate": (["base"], "tokens samples prompt temperature top-k top-p seed device".split()),
    "tokenize": (["the fox"], "tokenizer decode train kind vocab-size file out".split()),
    "evaluate": (
        ["base", "--data", "entries.json", "--limit", "2"],
        "task method shots limit window stride device".split(),
    ),
    "judge": (
        ["entries.json", "--plan", "--model", "m"],
        "server protocol key price-read budget per-minute attempts scale limit answers".split(),
    ),
    "prepare": (
        ["texts", "--plan", "--no-repair", "--processes", "1"],
        "tokenizer vocab-size text-field separator languages least-characters most-characters "
        "most-symbols most-repetition paragraphs documents similarity least-paragraph "
        "val-fraction out processes".split(),
    ),
    "make-data": (
        ["refine", "entries.json", "--plan", "--model", "m"],
        "server budget reply-tokens limit threshold temperature seed".split(),
    ),
    "quiz": (
        ["questions.json", "--plan", "--model", "m"],
        "protocol price-written timeout shots index k limit".split(),
    ),
    "study": (["exp"], "width html".split()),
    "draw": (["scalar"], "tensor fold out".split()),
    "exercise list": ([], ["chapter"]),
    "exercise start": (["exp"], ["folder"]),
    "finetune ask": (["classes", "a text"], "temperature top-k tokens max-new-tokens".split()),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with small data, a base and a classifier."""
    folder = tmp_path_factory.mktemp("options")
    rows = [{"text": f"number {i}", "label": "even odd".split()[i % 2]} for i in range(40)]
    entries = [
        {
            "instruction": f"say {i}",
            "output": f"it is {i}",
            "chosen": f"it is {i}",
            "rejected": "no",
        }
        for i in range(40)
    ]
    (folder / "text.txt").write_text(TEXT)
    (folder / "texts").mkdir()
    (folder / "texts" / "text.txt").write_text(TEXT)
    (folder / "rows.json").write_text(json.dumps(rows))
    asked = [{"question": row["text"], "answer": row["label"]} for row in rows]
    (folder / "questions.json").write_text(json.dumps(asked))
    for name in ("entries", "pairs"):
        (folder / f"{name}.json").write_text(json.dumps(entries))
    small = [w for k, v in SMALL.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    base = [*small, "--context-length", "128", "--steps", "2"]
    run(["pretrain", str(folder / "text.txt"), *base, "--vocab-size", "270",
         "--out", str(folder / "base")])  # fmt: skip
    run(["finetune", "classify", str(folder / "rows.json"), *base, "--vocab-size", "270",
         "--out", str(folder / "classes")])  # fmt: skip
    return folder


def run(arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code or 0


def ends_well(arguments, capsys):
    large = any(word.isdecimal() and len(word) > 3 for word in arguments)
    if large:
        tracemalloc.start()
    begin = time.process_time()
    try:
        code = run(arguments)
    finally:
        peak = tracemalloc.get_traced_memory()[1]  # 0 where nothing is traced
        tracemalloc.stop()
    seconds = time.process_time() - begin
    shown = capsys.readouterr()
    what = f"{arguments}: code {code}, {seconds:.1f} s, {peak / 1e6:.0f} MB\n{shown.err[-1500:]}"
    assert code in (0, 1, 2) and "internal error" not in shown.err, what
    assert "Traceback" not in shown.err and len(shown.err) < 3000, what
    assert (code == 0) or shown.err.strip(), what
    assert "\x1b" not in shown.err, what
    assert seconds < SECONDS and peak < BYTES, what


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_a_training(name, count, made, monkeypatch, capsys, tmp_path):
    kind, fixed = COMMANDS[name]
    data = [str(made / word) if (made / word).exists() else word for word in fixed]
    known = kind.declared()
    small = {k: v for k, v in SMALL.items() if k in known}
    monkeypatch.chdir(tmp_path)
    for name in ("free_memory", "machine_memory"):
        monkeypatch.setattr(memory_needed, name, lambda: MEMORY)
    for seed in range(count):
        rng = random.Random(seed)
        values = {known[k].flag: str(v) for k, v in small.items()} | {"--steps": "3"}
        words = [*name.split(), *data]
        for option in rng.sample(
            [o for o in kind.shown() if not o.about.argument], rng.randint(1, 3)
        ):
            if option.type is bool:
                words.append(rng.choice([option.flag, f"--no-{option.flag[2:]}"]))
            else:
                values[option.flag] = rng.choice(VALUES)
        if values.get("--n-layers") == "1000":  # allowed, and a plan takes real steps: 10 s
            values["--n-layers"] = "64"
        if values.get("--ranks") in ("2", "3", "7"):  # allowed, and starts processes: seconds each
            values["--ranks"] = "1"  # test_ranks_of_commands has those
        words += [word for pair in values.items() for word in pair]
        ends_well(words, capsys)


@pytest.mark.parametrize("name", OTHERS)
def test_options_of_other_commands(name, count, made, monkeypatch, capsys, tmp_path):
    fixed, flags = OTHERS[name]
    data = [str(made / word) if (made / word).exists() else word for word in fixed]
    monkeypatch.chdir(tmp_path)
    for seed in range(count // 4):
        rng = random.Random(seed)
        words = [*name.split(), *data]
        for flag in rng.sample(flags, rng.randint(1, min(2, len(flags)))):
            words += [f"--{flag}", rng.choice(VALUES)]
        if name == "generate":
            words += ["--tokens", rng.choice(["3", "0", "x"])]  # the last one counts
        ends_well(words, capsys)


KINDS = [TrainingOptions, PretrainOptions, ClassifyOptions, InstructOptions, DPOOptions]


@pytest.mark.parametrize("kind", KINDS)
def test_options_as_keywords(kind, count):
    """The dataclasses that Trainer and the fine-tuning trainers take."""
    names = list(kind.declared())
    for seed in range(10 * count):
        rng = random.Random(seed)
        values = {name: rng.choice(NASTY) for name in rng.sample(names, rng.randint(1, 3))}
        begin = time.process_time()
        try:
            from_keywords("f", kind, None, values)
        except OptionError as error:
            assert len(str(error)) < 3000, values
        except Exception as error:
            raise AssertionError(f"{kind.__name__}({values!r:.300}): {error!r:.300}") from error
        assert time.process_time() - begin < SECONDS


@pytest.fixture(params=["8", pytest.param("200", marks=[pytest.mark.slow, pytest.mark.ci]),
                        pytest.param("5000", marks=pytest.mark.slow)])  # fmt: skip
def count(request) -> int:
    """How many command lines of each command."""
    return int(request.param)
