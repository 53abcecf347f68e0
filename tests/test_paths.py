"""`~` in names of files and folders: the user's home folder, wherever a path comes in."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.cli import main
from tinygrad_llm.data import corpora
from tinygrad_llm.files.atomic import atomic_write
from tinygrad_llm.files.downloads import DATA_VARIABLE, cache_folder
from tinygrad_llm.files.json_files import read_json, write_json
from tinygrad_llm.files.paths import home_folder, local_path
from tinygrad_llm.finetune.files import read_entries, read_labelled
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTConfig, from_pretrained, save_pretrained
from tinygrad_llm.study import draw
from tinygrad_llm.study.doctor.pieces import look_at_data
from tinygrad_llm.study.exercises import Progress, check_file, exercise
from tinygrad_llm.text import CharTokenizer, load_tokenizer
from tinygrad_llm.training import Trainer, find_checkpoint, plots, read_metrics
from tinygrad_llm.training.presets import PretrainOptions
from tinygrad_llm.training.settings import read_config
from tinygrad_llm.weights import SafeTensorsFile, load_file, load_model, save_file, save_model

PACKAGE = Path(torch.__file__).parent
TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another folder to work in; a folder called "~" must not appear there."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not any((tmp_path / "here").glob("~*"))


def test_the_door(home):
    assert local_path("~/a b") == home / "a b" and local_path("~") == home == home_folder()
    assert local_path(b"~/a") == home / "a" and local_path(Path("~/a")) == home / "a"
    for same in ("a/~/b", "./~", "/~", "", "~nobody-has-this-name/x", "a~"):
        assert local_path(same) == Path(same)


def test_without_a_home(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert local_path("~/a") == Path("~/a") and home_folder() is None
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert look_at_data()  # names a folder for downloads without asking for a home


def test_tensors_and_models(home):
    torch.save({"a": torch.ones(2)}, "~/a.pth")
    assert torch.load("~/a.pth")["a"].tolist() == [1, 1] and (home / "a.pth").is_file()
    assert torch.load("~/a.pth", mmap=True)["a"].tolist() == [1, 1]
    save_file({"a": torch.ones(2)}, "~/a.safetensors")
    assert load_file("~/a.safetensors")["a"].tolist() == [1, 1]
    assert list(SafeTensorsFile("~/a.safetensors")) == ["a"]
    layer = nn.Linear(2, 2)
    save_model(layer, "~/layer.safetensors")
    load_model(layer, "~/layer.safetensors")
    model = GPT(GPTConfig(11, 4, 64, 1, 1, 0.0))
    assert save_pretrained(model, "~/model") == home / "model"
    assert from_pretrained("~/model").config.emb_dim == 64
    lora.add(model, rank=2, names=["qkv"])
    lora.save(model, "~/adapter")
    assert lora.load(GPT(GPTConfig(11, 4, 64, 1, 1, 0.0)), "~/adapter")


def test_texts_and_options(home):
    (home / "t.txt").write_text(TEXT)
    assert corpora.load("~/t.txt").text == TEXT and corpora.load("~").text
    CharTokenizer.train(TEXT).save("~/tokenizer.json")
    assert load_tokenizer("~/tokenizer.json").decode([1])
    write_json("~/rows.json", [{"text": "a", "label": "b"}])
    assert read_json("~/rows.json") == read_entries("~/rows.json", ("text",))
    assert read_labelled("~/rows.json") == [("a", "b")]
    write_json("~/options.json", {"steps": 3})
    assert read_config("~/options.json", PretrainOptions) == {"steps": 3}
    with atomic_write("~/b") as file:
        file.write(b"b")
    assert (home / "b").read_bytes() == b"b"


def test_runs_and_pictures(home):
    model = nn.Linear(2, 1)
    trainer = Trainer(
        model, torch.optim.AdamW(model.parameters()), [torch.ones(3, 2)] * 2, steps=2,
        folder="~/run", progress=False, loss=lambda m, x: m(x).pow(2).mean(), count=len,
    )  # fmt: skip
    trainer.run(plan=False)
    assert find_checkpoint("~/run").step == 2 and (home / "run" / "loss.png").exists()
    assert read_metrics("~/run/metrics.jsonl")
    assert trainer.run(plan=False, resume="~/run").step == 2
    assert plots.plot_losses(read_metrics("~/run/metrics.jsonl"), "~/p.png") == home / "p.png"
    y = torch.ones(2, requires_grad=True) * 2
    draw(y).save("~/graph")
    draw(y).html("~/page.html")
    assert {"graph.svg", "graph.html", "page.html"} <= set(os.listdir(home))
    Progress("~/exercises").save()
    (home / "exp.py").write_text(exercise("exp").solution())
    assert (home / "exercises" / "progress.json").exists() and check_file("exp", "~/exp.py").passed


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    assert ended.value.code == 0, arguments


def test_commands(home, capsys, monkeypatch):
    (home / "t.txt").write_text(TEXT)
    small = ("--context-length", 16, "--emb-dim", 16, "--n-heads", 2, "--n-layers", 1)
    (home / "o.json").write_text(json.dumps({"batch_size": 2}))
    run("tokenize", "--train", "~/t.txt", "--kind", "char", "--out", "~/tok.json")
    run("tokenize", "fox", "--tokenizer", "~/tok.json")
    run("tokenize", "--file", "~/t.txt", "--tokenizer", "~/tok.json", "--ids")
    run("pretrain", "~/t.txt", "--tokenizer", "~/tok.json", "--steps", 2, *small,
        "--config", "~/o.json", "--out", "~/r")  # fmt: skip
    run("pretrain", "--resume", "~/r", "--steps", 3)
    assert find_checkpoint(home / "r").step == 3
    run("generate", "~/r", "--tokens", 3, "--prompt", "fox")
    rows = [{"text": f"{w} {i}", "label": w} for w in ("good", "bad") for i in range(20)]
    (home / "rows.json").write_text(json.dumps(rows))
    run("finetune", "classify", "~/rows.json", "--steps", 2, *small, "--out", "~/c",
        "--vocab-size", 260)  # fmt: skip
    run("finetune", "ask", "~/c", "good 3")
    run("exercise", "start", "exp", "--folder", "~/ex")
    (home / "script.py").write_text(
        "import tinygrad_llm as torch\ny = torch.ones(2, requires_grad=True).sum()\n"
    )
    run("trace", "~/script.py", "--html", "~/trace.html", "--plot", "~/trace.png")
    run("draw", "~/script.py", "--tensor", "y", "--out", "~/drawn")
    run("study", "exp", "--html", "~/study.html")
    for name in ("trace.html", "trace.png", "drawn.svg", "study.html"):
        assert (home / name).is_file()
    monkeypatch.setenv(DATA_VARIABLE, "~/data")
    assert cache_folder() == home / "data"


def parameters_of(function) -> set[str]:
    arguments = function.args
    return {a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}


def test_no_function_turns_its_argument_into_a_path_itself():
    """Path(argument) and open(argument) would forget `~`: local_path is the door."""
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        if file.name == "paths.py" or "tasks" in file.parts:
            continue
        text = file.read_text("utf-8")
        for function in ast.walk(ast.parse(text)) if "Path(" in text else ():
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            known = parameters_of(function)
            for call in ast.walk(function):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "Path"
                    and len(call.args) == 1
                    and isinstance(call.args[0], ast.Name)
                    and call.args[0].id in known
                ):
                    wrong.append(f"{file.relative_to(PACKAGE)}:{call.lineno}")
    allowed = {"study/exercises/child.py"}  # the path comes from check_file, which expanded it
    assert [w for w in wrong if w.split(":")[0] not in allowed] == []


if sys.platform == "win32":  # names of users are not looked up there
    del test_the_door
