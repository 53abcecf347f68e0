"""The options of training: declared once, found in Python, in commands, in files, in docs."""

import dataclasses
import inspect
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import option_page
import pytest
from test_training import TOKENS, small_gpt, trainer

import tinygrad_llm
from tinygrad_llm import nn, optim
from tinygrad_llm.finetune import instruction_trainer
from tinygrad_llm.finetune.commands import COMMANDS
from tinygrad_llm.finetune.options import ClassifyOptions, DPOOptions, InstructOptions
from tinygrad_llm.training import TokenBatches, Trainer, TrainingOptions
from tinygrad_llm.training.options import GROUPS, OptionError
from tinygrad_llm.training.presets import PretrainOptions, resolve
from tinygrad_llm.training.settings import read_config, resolved

ROOT = Path(tinygrad_llm.__file__).parent
KINDS = (PretrainOptions, *COMMANDS.values())

# Prints where a default is found: constructor, command line, configuration file, docs.
WHERE = """
import json, sys
sys.path.insert(0, {tests!r})
import option_page
import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.finetune.options import ClassifyOptions
from tinygrad_llm.training import Trainer
from tinygrad_llm.training.presets import PretrainOptions, resolve
from tinygrad_llm.training.settings import read_config, resolved

weight = torch.nn.Linear(2, 1)
loss = lambda model, batch: model(batch).sum()
trainer = Trainer(weight, torch.optim.SGD(weight.parameters()), [1], loss=loss, steps=1)
open("empty.json", "w").write("{{}}")
print(json.dumps([
    trainer.options.keep,
    resolve({{}}, read_config("empty.json", PretrainOptions)).keep,
    resolved(ClassifyOptions, read_config("empty.json", ClassifyOptions)).keep,
    next(line for line in option_page.page().splitlines() if line.startswith("| `keep`")),
]))
for command in (["pretrain"], ["finetune", "dpo"]):
    try:
        main([*command, "--help"])
    except SystemExit:
        pass
"""


def test_a_default_is_changed_in_one_place(tmp_path):
    copy = tmp_path / "tinygrad_llm"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = copy / "training" / "options.py"
    text = source.read_text(encoding="utf-8")
    assert text.count('option(3, "Checkpoints kept."') == 1
    source.write_text(text.replace('option(3, "Checkpoints', 'option(7, "Checkpoints'), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WHERE.format(tests=str(Path(__file__).parent))],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "COLUMNS": "100", "PATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, *help_lines = done.stdout.splitlines()
    *values, row = json.loads(first)
    assert values == [7, 7, 7] and row.startswith("| `keep` | 7 |")
    shown = [line for line in help_lines if "Checkpoints kept." in line]
    assert len(shown) == 2 and all("[7]" in line for line in shown)


def test_the_page_is_current():
    assert option_page.PAGE.read_text("utf-8") == option_page.page(), "python tests/option_page.py"


def test_a_default_that_a_command_computes_itself_has_a_row_there():
    page = option_page.page().split("## `tinygrad-llm finetune translate`")[1].split("\n## ")[0]
    for start in ("`lr` | none: 1.5e-3", "`min_lr` | none: lr / 50", "`drop_rate` | none: 0.2",
                  "`epochs` | none: 10"):  # fmt: skip
        assert f"\n| {start}" in page, start
    assert "`batch_size`" not in page  # as in the tables that the section names


@pytest.mark.parametrize("kind", [TrainingOptions, *KINDS], ids=lambda kind: kind.__name__)
def test_declarations(kind):
    declared = kind.declared()
    assert set(declared) == {f.name for f in dataclasses.fields(kind)}
    assert len({o.flag for o in declared.values()}) == len(declared)
    for o in declared.values():
        assert o.about.group in GROUPS and o.about.help.endswith((".", "]", "...")), o
        assert o.default is not None or o.optional
        assert o.about.rule is None or o.default is None or o.about.rule.allows(o.default)
    options = kind()
    options.check()
    assert options == kind()  # checking changes no default


def test_signatures_have_the_defaults_of_the_declarations():
    for kind in KINDS:
        for name, parameter in inspect.signature(kind).parameters.items():
            assert parameter.default == kind.declared()[name].default


# -------------------------------------------------------------------------------------- values
@pytest.mark.parametrize(
    "values, message",
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size should be a whole number, got 2.5"),
        ({"batch_size": True}, "batch_size should be a whole number, got True"),
        ({"lr": math.inf}, "lr must be more than 0, got inf"),
        ({"lr": "fast"}, "lr should be a number, got 'fast'"),
        ({"clip": 0}, "clip must be more than 0, got 0"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"graph": 1}, "graph should be true or false, got 1"),
        ({"min_lr": 1.0, "lr": 0.5}, "min_lr 1 is above lr 0.5"),
        ({"label_smoothing": 0.5}, "label_smoothing must be 0 or more and less than 0.5, got 0.5"),
        ({"lora": True, "freeze": "x"}, "lora freezes the base: leave train_only and freeze out"),
        ({"freeze": "x", "train_only": "y"}, "train_only and freeze were both given"),
        ({"device": "tpu"}, "device must be cpu, cuda or cuda:1, got tpu"),
        ({"precision": "bfloat16"}, "precision bfloat16 needs a GPU"),
        ({"graph": True}, "graph needs device cuda and accumulation 1"),
        ({"steps": 3, "epochs": 1.0}, "steps and epochs were both given"),
        ({"style": 3}, "style should be a text, got 3"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(values, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        resolved(DPOOptions, values)


def test_an_error_is_spelled_as_its_reader_writes_options():
    error = OptionError("`min_lr` is above `lr`, as `x y` says")
    assert str(error) == "min_lr is above lr, as `x y` says"
    assert error.spelled(lambda name: f"--{name}") == "--min_lr is above --lr, as `x y` says"


def test_numbers_become_pythons():
    options = TrainingOptions(steps=np.int64(3), clip=np.float32(0.5), keep=np.int8(2))
    options.check()
    assert [type(v) for v in (options.steps, options.clip, options.keep)] == [int, float, int]
    assert type(resolve({"lr": 1}, {}).lr) is float


def test_a_file_may_name_the_folder_as_the_command_line_does(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"out": "runs/x", "batch-size": 3}')
    assert read_config(path, InstructOptions) == {"folder": "runs/x", "batch_size": 3}
    for text, message in (
        ('{"folder": "x"}', "there is no option folder"),
        ('{"sample_every": 3}', "there is no option sample_every .did you mean eval_every"),
        ('{"lr": true}', "lr should be a number, got True"),
    ):
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            read_config(path, ClassifyOptions)


# -------------------------------------------------------------------------------- constructors
def test_options_and_keywords_are_the_same():
    model = small_gpt()
    batches = TokenBatches(TOKENS, 4, 8)
    options = TrainingOptions(steps=7, clip=None, keep=5)
    made = Trainer(model, optim.SGD(model.parameters()), batches, options, keep=2, progress=False)
    assert (made.steps, made.setup.clip, made.options.keep) == (7, None, 2)
    assert options.keep == 5  # the caller's object is not changed
    made.steps = 9
    assert options.steps == 7


@pytest.mark.parametrize(
    "options, message",
    [
        ({"stps": 3}, r"Trainer has no option 'stps' \(did you mean steps\?\)"),
        ({"validaton": []}, r"no option 'validaton' \(did you mean validation\?\)"),
        ({}, "Trainer needs steps, the number of optimizer steps"),
        ({"options": {"steps": 3}}, "Trainer: options must be TrainingOptions, got dict"),
    ],
)
def test_what_trainer_refuses(options, message):
    model = small_gpt()
    with pytest.raises(TypeError, match=message):
        Trainer(model, optim.SGD(model.parameters()), [1], **options)


def test_a_trainer_without_a_loss_says_what_to_pass():
    model = nn.Linear(2, 1)
    with pytest.raises(TypeError, match=r"Linear has no method loss.*pass loss=.*\(model, batch\)"):
        Trainer(model, optim.SGD(model.parameters()), [1], steps=1)


def test_a_trainer_of_fine_tuning_knows_its_options_and_trainers():
    with pytest.raises(TypeError, match=r"no option 'epoch' \(did you mean epochs\?\)"):
        instruction_trainer(small_gpt(), [], epoch=3)
    with pytest.raises(TypeError, match=r"no option 'progres' \(did you mean progress\?\)"):
        instruction_trainer(small_gpt(), [], progres=False)


# ---------------------------------------------------------------------------------- one reduction
def test_the_gradients_of_a_step_are_reduced_in_one_place():
    """A function in place of reduce_gradients sees every step, plans and searches included."""
    run = trainer(steps=3, accumulation=2)
    seen = []

    def reduce(parameters, targets):
        norms = [abs(p.grad.array).max() for p in parameters]
        seen.append((targets, min(norms) > 0))
        for p in run.model.parameters():
            p.grad.array[...] = 0.0  # the update uses what is left here
        return targets

    run.setup.reduce = reduce
    for group in run.optimizer.param_groups:
        group["weight_decay"] = 0.0
    before = [p.array.copy() for p in run.model.parameters()]
    run.run(plan=False)
    assert seen == [(2 * 4 * 8, True)] * 3
    assert all(np.array_equal(a, p.array) for a, p in zip(before, run.model.parameters()))  # noqa: B905
    run.measured = None
    run.measure()
    run.find_learning_rate(steps=10)
    assert len(seen) > 3 + 4
