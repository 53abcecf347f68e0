"""The command line as people type it: what it prints and leaves, and what it says when wrong."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_llm
from tinygrad_llm.cli import main
from tinygrad_llm.generation import Sampling
from tinygrad_llm.training import find_checkpoint, read_metrics
from tinygrad_llm.training.presets import PRESETS, PretrainOptions, resolve
from tinygrad_llm.training.settings import read_config

TEXT = "".join(
    f"Line {i}: the quick brown fox jumps over {i * 7 % 13} lazy dogs.\n" for i in range(99)
)
SMALL = [
    *("--context-length", "16", "--emb-dim", "16", "--n-heads", "2", "--n-layers", "1"),
    *("--batch-size", "4", "--sample-tokens", "5"),
]
ROOT = Path(tinygrad_llm.__file__).parent.parent


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Runs a command line in a folder with a text file: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in arguments])
        shown = capsys.readouterr()
        return done.value.code or 0, shown.out, shown.err

    return call


def process(*arguments, **options):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tinygrad_llm.cli", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that others generate from and resume; copy it before changing it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    before = os.getcwd()
    os.chdir(folder)
    try:
        with pytest.raises(SystemExit) as done:
            main(
                [
                    "pretrain",
                    "text.txt",
                    "--vocab-size",
                    "300",
                    "--steps",
                    "12",
                    "--out",
                    "runs/a",
                    *SMALL,
                ]
            )
        assert not done.value.code
    finally:
        os.chdir(before)
    return folder


# ------------------------------------------------------------------------------------- pretrain
def test_pretrain_says_what_it_did_and_leaves_everything(cli):
    code, out, err = cli("pretrain", "text.txt", "--vocab-size", 280, "--steps", 20, *SMALL)
    assert (code, err) == (0, "")
    run = Path("runs/text.txt-1")
    for line in (
        r"text +text.txt, 5,\d\d\d characters",
        r"tokenizer +bpe, 280 tokens; the text is [\d,]+ for training and \d+ for validation",
        r"parameters +[\d,]+",
        r"tokens +1,280 in 20 steps",
        r"time +about .* on this machine as just measured, [\d,]+ tokens/s",
        r"step 0: validation loss 5.\d+, \d.\d+ bits per byte",
        r"step 20/20  loss \d.\d+  lr \S+  [\d,]+ tokens/s  MFU \d+%  0.0 s left",
        r"validation loss +\d\.\d+ \(nats per token\)",
        r"perplexity +\d+\.\d",
        r"bits per byte +\d\.\d+",
        r"plot +runs/text.txt-1/loss.png",
        r"checkpoint +runs/text.txt-1/checkpoints/step-00000020",
        r"tinygrad-llm generate runs/text.txt-1",
    ):
        assert re.search("^.*" + line, out, re.M), f"{line} not in:\n{out}"
    assert len(re.findall(r"^sample \d$", out, re.M)) == 3
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    checkpoint = find_checkpoint(run)
    assert checkpoint.step == 20 and checkpoint.build_model().config.vocab_size == 280
    last = [line for line in read_metrics(run / "metrics.jsonl") if "val_loss" in line][-1]
    assert f"{last['val_loss']:.4f}" in out and f"{last['bits_per_byte']:.4f}" in out
    # bits per byte from their definition
    val = TEXT[round(len(TEXT) * 0.9) :]
    tokens = int(re.search(r"and (\d+) for validation", out)[1])
    assert last["bits_per_byte"] == pytest.approx(
        last["val_loss"] * tokens / len(val.encode()) / 0.6931471805599453
    )
    assert "\x1b" not in out  # plain lines where there is no terminal


def test_a_second_run_gets_a_folder_of_its_own_and_the_config_repeats_it(cli):
    options = ("--tokenizer", "char", "--steps", 4, "--seed", 5, "--drop-rate", 0.1, *SMALL)
    assert cli("pretrain", "text.txt", *options)[0] == 0
    code, _, err = cli("pretrain", "--config", "runs/text.txt-1/config.json")
    assert (code, err) == (0, "")
    a, b = (find_checkpoint(f"runs/text.txt-{n}").path / "model.safetensors" for n in (1, 2))
    assert a.read_bytes() == b.read_bytes()


def test_minutes_choose_the_steps(cli):
    code, out, _ = cli("pretrain", "text.txt", "--tokenizer", "char", "--minutes", 0.03, *SMALL)
    assert code == 0
    steps = int(re.search(r"--steps (\d+) repeats this run", out)[1])
    assert steps >= 10 and find_checkpoint("runs/text.txt-1").step == steps
    # and it is the run that its config repeats, with its validations
    every = json.loads(Path("runs/text.txt-1/config.json").read_text())["eval_every"]
    lines = read_metrics("runs/text.txt-1/metrics.jsonl")
    validated = [line["step"] for line in lines if "val_loss" in line]
    assert validated == [*range(0, steps, every), steps]


def test_minutes_do_not_train_for_ever_on_a_short_text(cli):
    arguments = ("pretrain", "text.txt", "--tokenizer", "char", "--minutes", 600, "--plan")
    code, out, _ = cli(*arguments, *SMALL, "--batch-size", 200)
    assert (
        code == 0
        and re.search("200 steps pass over it [0-9]+ times", out)
        and "in 200 steps" in out
    )


def test_plan_alone_trains_and_writes_nothing(cli):
    code, out, _ = cli(
        "pretrain", "text.txt", "--tokenizer", "char", "--steps", 1000, "--plan", *SMALL
    )
    assert code == 0 and "64,000 in 1,000 steps" in out
    assert os.listdir() == ["text.txt"]


def test_resume_goes_on_and_may_train_longer(cli, trained):
    shutil.copytree(trained, "copy")
    os.chdir("copy")
    code, out, err = cli("pretrain", "--resume", "runs/a", "--steps", 18)
    assert (code, err) == (0, "") and "step 18/18" in out
    lines = read_metrics("runs/a/metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 19))
    assert find_checkpoint("runs/a").config["options"]["steps"] == 18
    # resuming what is done changes nothing and says the result again
    code, out, err = cli("pretrain", "--resume", "runs/a")
    assert (code, err) == (0, "") and "finished     all 18 steps were done before" in out


def test_ctrl_c_saves_and_says_how_to_go_on(cli, tmp_path):
    running = process(
        "pretrain", "text.txt", "--tokenizer", "char", "--steps", 100000, "--out", "r", *SMALL
    )
    for line in running.stdout:
        if "tokens/s" in line and line.startswith("step"):
            break
    running.send_signal(signal.SIGINT)
    output, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    command = re.search(r"to continue: (.*)$", output, re.M)
    assert command, output
    assert shlex.split(command[1])[-5:] == "-m tinygrad_llm.cli pretrain --resume r".split()
    assert shutil.which(shlex.split(command[1])[0])  # as it was called: it can be typed again
    assert err == "tinygrad-llm: stopped\n"
    step = find_checkpoint("r").step
    assert step >= 1
    code, out, err = cli("pretrain", "--resume", "r", "--plan")
    assert (code, err) == (0, "") and f"{100000 - step:,} steps" in out


def test_a_full_disk_is_one_line_and_nothing_is_lost(cli):
    resource = pytest.importorskip("resource")

    def limit():  # files may not grow past 12 kB: the weights take 20
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000))

    arguments = ("pretrain", "text.txt", "--tokenizer", "char", "--steps", 6, "--out", "r", *SMALL)
    _, err = (running := process(*arguments, preexec_fn=limit)).communicate(timeout=60)
    assert running.returncode == 2
    assert re.fullmatch(
        r"tinygrad-llm: the checkpoint of step 6 was not written: .*; there is none yet\n", err
    )
    assert not [p for p in Path("r/checkpoints").iterdir()]
    assert read_metrics("r/metrics.jsonl")


# ------------------------------------------------------------------------------------ bad values
PRETRAIN = ["pretrain", "text.txt", "--steps", "3"]
CHARS = [*PRETRAIN, "--tokenizer", "char"]
BAD = [
    (["pretrain", "nowhere.txt"], "no corpus and no file is called 'nowhere.txt'"),
    (["pretrain", "tinyshakespear"], "did you mean 'tinyshakespeare'"),
    (["pretrain", "latin1.txt"], "latin1.txt is not UTF-8: byte 3"),
    (["pretrain", "empty.txt"], "is empty"),
    (["pretrain", "short.txt"], "too long for this text: its training part has .* bytes"),
    ([*PRETRAIN, "--vocab-size", "9000"], "--vocab-size: vocab_size 9000 is too large for this"),
    ([*PRETRAIN, "--vocab-size", "100"], "--vocab-size: .*at least 257"),
    ([*CHARS, "--context-length", "9000"], "--context-length 9000 is too long for this text"),
    ([*CHARS, "--val-fraction", "0.0001"], "--val-fraction 0.0001 .* leaves [01] tokens"),
    (
        [*PRETRAIN, "--tokenizer", "nope.json"],
        "nope.json is neither bpe, wordpiece, unigram, char or gpt2 nor a file",
    ),
    ([*PRETRAIN, "--tokenizer", "text.txt"], "not a tokenizer file: text.txt is not JSON"),
    (
        [*PRETRAIN, "--n-heads", "3", "--emb-dim", "32"],
        "--n-heads 3 does not divide --emb-dim 32.*2 heads are possible",
    ),
    ([*PRETRAIN, "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
    ([*PRETRAIN, "--batch-size", "-4"], "--batch-size must be at least 1, got -4"),
    ([*PRETRAIN, "--steps", "-1"], "--steps must be at least 1, got -1"),
    ([*PRETRAIN, "--steps", "many"], "--steps.*valid int"),
    ([*PRETRAIN, "--steps"], "--steps.*requires an argument"),
    ([*PRETRAIN, "--minutes", "3"], "steps and minutes were both given"),
    (["pretrain", "text.txt", "--minutes", "0"], "--minutes must be more than 0"),
    (["pretrain", "text.txt", "--minutes", "inf"], "--minutes must be more than 0"),
    ([*PRETRAIN, "--lr", "nan"], "--lr must be more than 0, got nan"),
    ([*PRETRAIN, "--lr", "-1e-3"], "--lr must be more than 0, got -0.001"),
    ([*PRETRAIN, "--min-lr", "1"], "--min-lr 1 is above --lr 0.003"),
    ([*PRETRAIN, "--drop-rate", "1"], "--drop-rate must be 0 or more and less than 1, got 1"),
    ([*PRETRAIN, "--beta2", "1.5"], "--beta2 must be 0 or more and less than 1"),
    ([*PRETRAIN, "--val-fraction", "1"], "--val-fraction must be more than 0 and less than 1"),
    ([*PRETRAIN, "--temperature", "-1"], "--temperature must be 0 or more"),
    ([*PRETRAIN, "--seed", "-1"], "--seed must be 0 or more"),
    ([*PRETRAIN, "--preset", "smal"], r"there is no preset smal \(did you mean small\?\)"),
    ([*CHARS, "--prompt", "Ж"], "--prompt: .*Ж"),
    ([*CHARS, "--prompt", ""], "--prompt must be at least one character"),
    ([*CHARS, "--out", "text.txt/run", *SMALL], "text.txt/run: Not a directory"),
    *([([*CHARS, "--out", "/proc/run", *SMALL], "/proc")] if os.path.isdir("/proc/self") else []),
    ([*PRETRAIN, "--colour", "red"], "No such option: --colour"),
    (["pretrain", "--config", "nowhere.json"], "--config: there is no file nowhere.json"),
    (["pretrain", "--config", "text.txt"], "--config: text.txt cannot be read"),
    (["pretrain", "--config", "latin1.txt"], "--config: latin1.txt is not UTF-8"),
    (["pretrain", "--config", "."], "--config: . is a folder"),
    (["pretrain", "--config", "unknown.json"], "no option emb_dims .did you mean emb_dim"),
    (["pretrain", "--config", "wrong.toml"], "batch_size should be a whole number, got 'big'"),
    (["pretrain", "--config", "list.json"], "list.json should hold names and values"),
    (["pretrain", "--config", "bad.json"], "--n-layers must be between 1 and 256, got 0"),
    (["pretrain", "--resume", "nowhere"], "nowhere does not exist"),
    (["pretrain", "--resume", "."], "holds no checkpoint"),
    (["generate"], "there is no trained model in .*pretrain"),
    (["generate", "nowhere"], "nowhere does not exist"),
    (["generate", "--temperature", "-0.5"], "--temperature must be a finite .*, got -0.5"),
    (["generate", "--temperature", "nan"], "--temperature must be a finite number.*, got nan"),
    (["generate", "--tokens", "0"], "--tokens must be between 1 and 1,000,000, got 0"),
    (["generate", "--top-k", "0"], "--top-k must be an integer of at least 1, got 0"),
    (["generate", "--top-p", "1.1"], "--top-p must be greater than 0 and at most 1, got 1.1"),
    (["generate", "--min-p", "-0.1"], "--min-p must be at least 0 and at most 1, got -0.1"),
    (["generate", "--repetition-penalty", "0"], "--repetition-penalty must be .* above 0, got 0"),
    (["generate", "--stop", ""], "--stop must be texts of at least one character, got ''"),
    (["generate", "--seed", "-1"], "--seed must be 0 or more"),
    (["generate", "--samples", "-2"], "--samples must be between 1 and 10,000, got -2"),
    (["generate", "--samples", "2147483648"], "--samples must be between 1 and 10,000"),
    (["study", "exp", "--width", "1" + "0" * 400], "--width must be between 1 and 10,000"),
    (["generate", "--dtype", "float8"], "--dtype must be one of float32, bfloat16, float16, got f"),
    (["generate", "--draft-tokens", "0"], "--draft-tokens must be at least 1"),
    (["generate", "--draft-tokens", "3"], "--draft-tokens needs --draft lookup"),
    (["generate", "--prefill-chunk", "0"], "--prefill-chunk must be at least 1"),
    (["generate", "--prompt", ""], "--prompt must be at least one character"),
    (["tokenize"], "give one of TEXT, --file, --decode and --train, got none"),
    (["tokenize", "a", "--file", "b"], "got TEXT and --file"),
    (["tokenize", "a", "--tokenizer", "nope"], "there is no file nope"),
    (["tokenize", "--file", "nope", "--tokenizer", "char.json"], "--file: .*nope"),
    (["tokenize", "--file", "latin1.txt", "--tokenizer", "char.json"], "latin1.txt is not UTF-8"),
    (["tokenize", "Ж", "--tokenizer", "char.json"], "TEXT: .*Ж"),
    (["tokenize", "--decode", "1 x", "--tokenizer", "char.json"], "--decode: .*'x'"),
    (["tokenize", "--decode", "999", "--tokenizer", "char.json"], "--decode: token id 999"),
    (
        ["tokenize", "--train", "text.txt", "--kind", "words"],
        "--kind must be bpe, wordpiece, unigram, .* or char, got words",
    ),
    (
        ["tokenize", "--train", "text.txt", "--kind", "unigram", "--vocab-size", "300"],
        "--vocab-size: vocab_size must be at least",
    ),
    (["tokenize", "--train", "text.txt", "--vocab-size", "9000"], "9000 is too large"),
    (["tokenize", "--train", "text.txt", "--kind", "char", "--out", "text.txt/x"], "text.txt"),
    (["train"], "No such command 'train'"),
]


@pytest.mark.parametrize(
    "arguments, message", BAD, ids=lambda v: " ".join(v)[-40:] if type(v) is list else ""
)
@pytest.mark.suite_cases(25)
def test_a_bad_value_is_one_clear_line_and_exit_code_2(cli, arguments, message):
    Path("latin1.txt").write_bytes(b"caf\xe9")
    Path("empty.txt").write_text("\n")
    Path("short.txt").write_text("Hello, world: this is short.")
    Path("unknown.json").write_text('{"emb_dims": 3}')
    Path("wrong.toml").write_text('batch-size = "big"\n')
    Path("list.json").write_text("[1]")
    Path("bad.json").write_text('{"n_layers": 0}')
    tinygrad_llm.text.CharTokenizer.train("abc").save("char.json")
    files = sorted(os.listdir())
    code, _, err = cli(*arguments)
    assert code == 2, err
    assert re.search(message, err), err
    assert err.startswith("tinygrad-llm: ") and err.count("\n") == 1 and "Traceback" not in err
    assert len(err) < 500
    assert sorted(os.listdir()) == files, "something was left behind"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--emb-dim", "32"], "--emb-dim 32: the checkpoint .* was made with 16"),
        (["--vocab-size", "290"], "--vocab-size 290: .* made with 300"),
        (["--lr", "0.5"], "--lr 0.5: .* made with 0.003"),
        (["--steps", "3"], "--steps 3: the run is at step 12 already"),
        (["--minutes", "1"], "--minutes 1.0: .* made with none"),
    ],
)
def test_a_resumed_run_keeps_its_shape(cli, trained, arguments, message):
    shutil.copytree(trained, "copy")
    os.chdir("copy")
    code, _, err = cli("pretrain", "--resume", "runs/a", *arguments)
    assert code == 2 and re.search(message, err) and err.count("\n") == 1


def test_a_run_is_not_overwritten_and_a_changed_text_is_noticed(cli, trained):
    shutil.copytree(trained, "copy")
    os.chdir("copy")
    before = {p: p.read_bytes() for p in Path("runs").rglob("*") if p.is_file()}
    code, _, err = cli(
        "pretrain", "text.txt", "--tokenizer", "char", "--steps", 3, "--out", "runs/a", *SMALL
    )
    assert code == 2 and "runs/a holds a run already (step-00000012)" in err
    Path("text.txt").write_text(TEXT + "more")
    code, _, err = cli("pretrain", "--resume", "runs/a", "--steps", 20)
    assert code == 2 and "has changed since the run began" in err
    assert before == {p: p.read_bytes() for p in Path("runs").rglob("*") if p.is_file()}


def test_going_back_to_an_older_checkpoint_is_reported(cli, trained):
    shutil.copytree(trained, "copy")
    os.chdir("copy")
    newest = find_checkpoint("runs/a").path
    older = newest.parent / "step-00000001"
    shutil.copytree(newest, older)
    with open(newest / "model.safetensors", "ab") as file:
        file.write(b"more")
    line = f"{newest / 'model.safetensors'} should have"
    code, _, err = cli("generate", "runs/a", "--tokens", 2)
    assert code == 0 and line in err and f"going back to {older}" in err
    code, out, err = cli("pretrain", "--resume", "runs/a", "--plan")
    assert code == 0 and line in err and f"{older}, step 12" in out + err


def test_no_command_shows_the_help_on_lines_of_its_own(cli):
    code, out, err = cli()
    assert code == 2 and "\n  pretrain " in out + err and "tinygrad-llm: Usage" not in err


def test_a_word_is_not_a_token_id(cli):
    code, _, err = cli("tokenize", "--decode", "1 x")
    assert code == 2 and "'x' is not a token id" in err


def test_a_damaged_checkpoint_is_named(cli, trained):
    shutil.copytree(trained, "copy")
    os.chdir("copy")
    for path in Path("runs/a/checkpoints").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    code, _, err = cli("generate", "runs/a")
    assert code == 2 and "cut short" in err and err.count("\n") == 1


def test_no_room_for_checkpoints_is_reported_before_training(cli, monkeypatch):
    full = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    code, out, err = cli("pretrain", "text.txt", "--tokenizer", "char", "--steps", 3, *SMALL)
    assert code == 2 and re.search("--out: .* has 0 MB free, and 4 checkpoints take", err)
    assert os.listdir() == ["text.txt"]


def test_too_large_a_model_is_reported_in_one_line(cli, monkeypatch):
    def too_large(*arguments, **options):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("tinygrad_llm.models.gpt.GPT.__init__", too_large)
    code, _, err = cli("pretrain", "text.txt", "--tokenizer", "char", "--steps", 3, *SMALL)
    assert code == 2 and "not enough memory (Unable to allocate 9 TiB)" in err


@pytest.mark.parametrize("flag", [[], ["--debug"]])
def test_our_own_mistakes_are_one_line_too_and_debug_shows_them(cli, monkeypatch, flag):
    def broken(*arguments, **options):
        raise KeyError("oops")

    monkeypatch.setattr("tinygrad_llm.data.corpora.load", broken)
    if flag:
        with pytest.raises(KeyError, match="oops"):
            main([*PRETRAIN, *flag])
        return
    code, _, err = cli(*PRETRAIN)
    assert (
        code == 1
        and err == "tinygrad-llm: internal error: KeyError: 'oops' (--debug shows where)\n"
    )


def test_a_loss_that_is_not_finite_ends_with_its_op(cli, monkeypatch):
    from tinygrad_llm.models import GPT

    real = GPT.loss
    monkeypatch.setattr(GPT, "loss", lambda self, x, y: (real(self, x, y) * 0.0).log())
    code, _, err = cli("pretrain", "text.txt", "--tokenizer", "char", "--steps", 3, *SMALL)
    assert code == 1 and "step 1: the loss is -inf. First made by log" in err
    assert err.count("\n") == 1


# ------------------------------------------------------------------------------ help and options
@pytest.mark.parametrize("command", ["pretrain", "generate", "tokenize"])
def test_help_shows_examples_that_work(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0 and f"  tinygrad-llm {command}" in out
    examples = re.findall(r"^ *(tinygrad-llm .*?)(?:   .*|>.*)?$", out, re.M)
    assert len(examples) >= 3
    known = set(re.findall(r"--[a-z0-9-]+", out.partition("Options:")[2]))
    for example in examples:
        assert set(re.findall(r"--[a-z0-9-]+", example)) <= known, example


def test_version(cli):
    code, out, _ = cli("--version")
    assert code == 0 and re.match(r"tinygrad-llm(, not installed| \d)", out)


def test_help_names_every_preset_and_the_commands(cli):
    _, out, _ = cli("pretrain", "--help")
    for name in PRESETS:
        assert re.search(rf"^ *{name} ", out, re.M)
    code, out, _ = cli("--help")
    assert code == 0
    for command in ("pretrain", "generate", "tokenize"):
        assert command in out


def test_every_option_of_pretrain_can_stand_in_a_file(cli):
    _, out, _ = cli("pretrain", "--help")
    flags = set(re.findall(r"--([a-z0-9-]+)", out.partition("Options:")[2]))
    own = {"config", "resume", "plan", "find-lr", "plain", "help"} | {
        "no-qkv-bias",
        "no-tie-weights",
        "no-gradient-checkpointing",
        "no-graph",
        "no-sinks",
        "no-noise-scale",
        "no-qk-norm",
        "no-value-embeddings",
        "no-whole-words",
    }
    fields = {o.flag.lstrip("-") for o in PretrainOptions.shown()} - {"CORPUS"}
    assert flags - own == fields


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_layers_of_options(tmp_path, suffix):
    if suffix == "toml" and sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    path = tmp_path / f"settings.{suffix}"
    values = {"preset": "tiny", "emb-dim": 32, "lr": 1, "steps": 7, "tie_weights": False}
    if suffix == "json":
        path.write_text(json.dumps(values))
    else:
        path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    made = resolve({"emb_dim": 64, "n_heads": 8}, read_config(path, PretrainOptions))
    assert (made.emb_dim, made.n_heads, made.n_layers) == (64, 8, 2)  # line, line, preset
    assert (made.lr, made.steps, made.minutes, made.tie_weights) == (1.0, 7, None, False)
    assert isinstance(made.lr, float)
    assert resolve({"minutes": 2.0}, read_config(path, PretrainOptions)).steps is None


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name):
    assert resolve({"preset": name}, {}).preset == name


def test_nanogpt_preset_is_nanogpts_cpu_configuration():
    o = resolve({"preset": "nanogpt-char"}, {})
    assert (o.n_layers, o.n_heads, o.emb_dim, o.context_length, o.batch_size) == (4, 4, 128, 64, 12)
    assert (o.steps, o.warmup, o.beta1, o.beta2) == (2000, 100, 0.9, 0.99)
    assert (o.lr, o.min_lr) == (3e-3, 1e-4)  # nanoGPT: 1e-3, which ends at 1.90
    assert (o.weight_decay, o.clip, o.drop_rate, o.tokenizer) == (0.1, 1.0, 0.0, "char")


# -------------------------------------------------------------------------- generate, tokenize
def test_generate_takes_the_latest_run_and_repeats_a_seed(cli, trained, monkeypatch):
    monkeypatch.chdir(trained)
    code, first, err = cli("generate", "--prompt", "Line 7: ", "--tokens", 8, "--seed", 3)
    assert (code, err) == (0, "") and first.startswith("Line 7: ") and len(first) > 12
    assert cli("generate", "runs/a", "--prompt", "Line 7: ", "--tokens", 8, "--seed", 3)[1] == first
    checkpoint = find_checkpoint("runs/a").path
    assert (
        cli("generate", checkpoint, "--prompt", "Line 7: ", "--tokens", 8, "--seed", 3)[1] == first
    )
    greedy = [cli("generate", "--temperature", 0, "--tokens", 8)[1] for _ in range(2)]
    assert greedy[0] == greedy[1]
    _, out, _ = cli("generate", "--samples", 3, "--tokens", 30, "--top-k", 5, "--top-p", 0.9)
    assert len(re.findall(r"^--- sample \d \(--seed \d+\)$", out, re.M)) == 3


def test_generate_with_weights_of_fewer_bits(cli, trained, monkeypatch):
    monkeypatch.chdir(trained)
    greedy = ("generate", "runs/a", "--prompt", "Line 7: ", "--tokens", 4, "--temperature", 0)
    code, plain, _ = cli(*greedy)
    assert code == 0
    for options in (
        ("--dtype", "bfloat16"), ("--dtype", "float16"), ("--quantize", "int8"),
        ("--quantize", "q4_1"),
    ):  # fmt: skip
        code, out, err = cli(*greedy, *options)
        assert code == 0 and out.startswith("Line 7: ") and len(out) >= 12, (options, err)
    assert cli(*greedy, "--dtype", "float32")[1] == plain
    for kind, words in (("int7", "--quantize: .*int8"), ("gguf", "--quantize: .*int8")):
        code, _, err = cli(*greedy, "--quantize", kind)
        assert code == 2 and re.search(words, err), err


def test_generate_has_a_flag_for_each_option_of_sampling(cli):
    out = cli("generate", "--help")[1]
    names = {f.name for f in dataclasses.fields(Sampling)} - {"stop_tokens", "stop_strings"}
    for flag in {name.replace("_", "-") for name in names} | {"stop"}:
        assert re.search(rf"^ *--{flag} ", out, re.M), flag


def test_generate_filters_penalises_and_stops(cli, trained, monkeypatch):
    monkeypatch.chdir(trained)
    seeded = ["generate", "runs/a", "--prompt", "Line 7: ", "--tokens", 24, "--seed", 3]
    drawn = cli(*seeded)[1]
    greedy = cli(*seeded, "--temperature", 0)[1]
    assert cli(*seeded, "--min-p", 1)[1] == greedy != drawn  # only the likeliest is left
    penalty = ["--temperature", 0, "--repetition-penalty", 50]
    assert cli(*seeded, *penalty)[1] != greedy
    text = greedy.removeprefix("Line 7: ").rstrip("\n")
    stops = [text[8:11], text[4:6]]
    assert text.isprintable() and all(stops), text
    code, out, err = cli(*seeded, "--temperature", 0, "--stop", stops[0], "--stop", stops[1])
    assert (code, err) == (0, "")
    first = min((text.index(stop) + len(stop), text.index(stop)) for stop in stops)[1]
    assert out == "Line 7: " + text[:first] + "\n"


def test_generate_with_drafts_writes_the_same_greedy_text(cli, trained, monkeypatch):
    monkeypatch.chdir(trained)
    greedy = ["generate", "runs/a", "--prompt", "Line 7: ", "--tokens", 12, "--temperature", 0]
    expected = cli(*greedy)[1]
    for draft in ("lookup", "runs/a"):
        code, out, err = cli(*greedy, "--draft", draft, "--draft-tokens", 3, "--prefill-chunk", 2)
        assert (code, out) == (0, expected), err
        assert re.search(r"^drafts: \d+ of \d+ drafted tokens accepted, .* calls of", err), err
    code, _, err = cli(*greedy, "--draft", "nowhere")
    assert code != 0 and "nowhere does not exist" in err


@pytest.mark.parametrize("kind, size", [("wordpiece", 80), ("unigram", 330)])
@pytest.mark.suite_cases(1)
def test_pretrain_with_other_tokenizers(cli, kind, size):
    options = ("--tokenizer", kind, "--vocab-size", size, "--out", "runs/a")
    code, out, err = cli("pretrain", "text.txt", *options, "--steps", 3, *SMALL)
    assert (code, err) == (0, "") and f"{kind}, {size} tokens" in out
    lossy = kind == "wordpiece"  # what it leaves out, spaces, is in no loss
    assert ("unknown: tokens of" in out) == lossy and bool(re.search(r"\d bits per", out)) != lossy
    code, _, err = cli("pretrain", "--resume", "runs/a", "--steps", 5)
    assert (code, err) == (0, "")
    code, out, err = cli("generate", "runs/a", "--prompt", "the", "--tokens", 4)
    assert (code, err) == (0, "") and out.startswith("the")


def test_tokenize_shows_saves_and_reverses(cli, trained):
    code, out, _ = cli("tokenize", "--train", "text.txt", "--vocab-size", 300, "--out", "bpe.json")
    assert code == 0 and re.search(r"bpe.json: 300 tokens learned in .* bytes per token", out)
    text = "The fox: 7 dogs, naïve"
    ids = cli("tokenize", text, "--tokenizer", "bpe.json", "--ids")[1].split()
    assert cli("tokenize", "--decode", " ".join(ids), "--tokenizer", "bpe.json")[1] == text + "\n"
    shown = json.loads(cli("tokenize", text, "--tokenizer", "bpe.json", "--json")[1])
    assert list(map(str, shown["ids"])) == ids and len(shown["tokens"]) == len(ids)
    table = cli("tokenize", text, "--tokenizer", "bpe.json")[1].splitlines()
    assert len(table) == len(ids) + 1
    assert f"{len(ids)} tokens, {len(text)} characters, " in table[-1]
    assert cli("tokenize", "--file", "text.txt", "--tokenizer", trained / "runs/a", "--ids")[0] == 0
    for kind, size in (("wordpiece", 80), ("unigram", 330)):
        code, out, _ = cli(
            "tokenize", "--train", "text.txt", "--kind", kind, "--vocab-size", size,
            "--out", f"{kind}/tokenizer.json",
        )  # fmt: skip
        assert code == 0 and f"{size} tokens learned" in out
        ids = cli("tokenize", text, "--tokenizer", f"{kind}/tokenizer.json", "--ids")[1]
        assert cli("tokenize", "--decode", ids, "--tokenizer", f"{kind}/tokenizer.json")[0] == 0
    assert cli("tokenize", "--train", "text.txt", "--kind", "char")[0] == 0
    assert Path("tokenizer.json").exists()
    assert cli("tokenize", "", "--tokenizer", "tokenizer.json")[1] == "0 tokens, 0 characters\n"


def test_tokenize_reads_standard_input_and_survives_a_closed_pipe(cli):
    tinygrad_llm.text.CharTokenizer.train("abc\n").save("char.json")
    running = process("tokenize", "-", "--tokenizer", "char.json", "--ids", stdin=subprocess.PIPE)
    assert running.communicate("abc\n", timeout=60)[0] == "1 2 3 0\n"
    Path("long.txt").write_text("abc\n" * 50000)
    running = process("tokenize", "--file", "long.txt", "--tokenizer", "char.json")
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr.read() == "" and running.wait(60) in (0, 1)


def test_output_that_cannot_show_a_character_does_not_fail(cli):
    tinygrad_llm.text.CharTokenizer.train("Жa").save("char.json")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "tinygrad_llm.cli",
        "tokenize",
        "Жa",
        "--tokenizer",
        "char.json",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "'?'" in done.stdout


def test_in_a_terminal_there_is_a_live_bar(cli):
    pexpect = pytest.importorskip("pexpect")
    arguments = [
        "-m",
        "tinygrad_llm.cli",
        "pretrain",
        "text.txt",
        "--tokenizer",
        "char",
        "--steps",
        "30",
        *SMALL,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    child = pexpect.spawn(
        sys.executable, arguments, env=environment, timeout=60, dimensions=(40, 120)
    )
    child.expect(pexpect.EOF)
    shown = child.before.decode()
    child.close()
    assert child.exitstatus == 0 and "\x1b[" in shown
    assert "30/30" in shown and "tokens/s" in shown and "validation loss" in shown


# ---------------------------------------------------------------------------------- on a GPU
@pytest.fixture
def settings_stay():
    """What a run on a GPU sets is as before after it."""
    yield
    tinygrad_llm.cuda.fast_dropout(False)
    tinygrad_llm.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.slow
@pytest.mark.ci
def test_a_run_goes_from_one_device_to_the_other(cli, other_device, settings_stay):
    shared = ["text.txt", *SMALL, "--vocab-size", 300, "--drop-rate", 0, "--steps", 6]
    assert cli("pretrain", *shared, "--out", "here")[0] == 0
    code, _, err = cli("pretrain", *shared, "--out", "there", "--device", other_device)
    assert code == 0, err
    curves = [[line["loss"] for line in read_metrics(f"{run}/metrics.jsonl") if "loss" in line]
              for run in ("here", "there")]  # fmt: skip
    assert len(curves[0]) == 6 and curves[0] == pytest.approx(curves[1], rel=1e-3)
    there = ["--device", other_device]
    greedy = ["--seed", 1, "--tokens", 9, "--temperature", 0]
    texts = [cli("generate", run, *greedy, *device)[1]
             for run in ("there", "here") for device in ([], there)]  # fmt: skip
    assert len(set(texts)) == 1 and len(texts[0]) > 9
    code, _, err = cli("pretrain", "--resume", "there", "--steps", 9, "--device", "cpu")
    assert code == 0, err
    code, _, err = cli("pretrain", "--resume", "here", "--steps", 9, "--device", other_device)
    assert code == 0, err
    ends = [read_metrics(f"{run}/metrics.jsonl")[-1]["val_loss"] for run in ("here", "there")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.suite_cases(1)
def test_precision_on_a_gpu(cli, other_device, settings_stay, precision):
    code, _, err = cli(
        "pretrain", "text.txt", *SMALL, "--vocab-size", 300, "--steps", 4, "--out", "r",
        "--device", other_device, "--precision", precision,
    )  # fmt: skip
    assert code == 0, err
    assert find_checkpoint("r").config["options"]["precision"] == precision


@pytest.mark.parametrize("command", [
    ["pretrain", "text.txt"], ["generate"], ["finetune", "classify"], ["finetune", "ask", "r", "x"]
], ids=" ".join)  # fmt: skip
def test_without_a_gpu_it_is_one_line(cli, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for options, message in (
        (["--device", "cuda"], r"--device cuda: needs CuPy, which is not installed: pip install"),
        (["--device", "tpu"], "--device must be cpu, cuda or cuda:1, got tpu"),
        (["--device", "cpu:1"], "--device must be cpu, cuda or cuda:1, got cpu:1"),
    ):
        code, out, err = cli(*command, *options)
        assert code and re.search(message, err) and len(err.strip().splitlines()) == 1, err
    if command[0] == "pretrain":
        code, _, err = cli(*command, "--precision", "tf32")
        assert code and "--precision tf32 needs a GPU: add --device cuda" in err
        code, _, err = cli(*command, "--precision", "half")
        assert code and "--precision must be float32, tf32, bfloat16, got half" in err


def test_a_gpu_of_another_number(cli, other_device):
    count = tinygrad_llm.cuda.device_count()
    code, _, err = cli("pretrain", "text.txt", "--device", f"cuda:{count}")
    assert code and f"--device cuda:{count}: this machine has {count} GPU(s)" in err


def test_a_text_that_moved_resumes(cli, tmp_path):
    """The same SHA-256 at another place; without the new place the message asks for it."""
    run = ["pretrain", "text.txt", "--tokenizer", "char", "--steps", "2", "--out", "r", *SMALL]
    assert cli(*run)[0] == 0
    os.makedirs("elsewhere")
    os.rename("text.txt", "elsewhere/moved.txt")
    code, _, err = cli("pretrain", "--resume", "r", "--steps", "3", "--plain")
    assert code == 2 and "if the text has moved, name its new place" in err
    code, _, err = cli(
        "pretrain", "elsewhere/moved.txt", "--resume", "r", "--steps", "3", "--plain"
    )
    assert code == 0, err
    assert find_checkpoint("r").step == 3
