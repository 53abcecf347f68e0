"""Lessons have all their parts and their solutions, and open as notebooks; one runs as a notebook.

lessons/run_all.py runs them; tests/parity/test_lessons.py compares what they print with PyTorch.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tinygrad_llm.data import corpora
from tinygrad_llm.files import downloads
from tinygrad_llm.study.lesson import full_run, get_or_explain

LESSONS = Path(__file__).resolve().parents[1] / "lessons"
sys.path.insert(0, str(LESSONS))

import checked  # noqa: E402
import run_all  # noqa: E402

FILES = run_all.lessons()
SOLUTIONS = run_all.solutions()
BACKPROP = [p for p in FILES if p.parent.name == "00_backprop"]
CHAPTERS = [p for p in FILES if p not in BACKPROP]  # on the way from text to a chat model


def name_of(path: Path) -> str:
    return path.relative_to(LESSONS).with_suffix("").as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_there_are_lessons_and_the_page_lists_each():
    assert len(BACKPROP) == 15
    page = read(LESSONS / "README.md")
    linked = re.findall(r"\[`(.+?)`\]\((.+?)\)", page)
    assert all(target.endswith(f"/{name}") for name, target in linked)
    targets = [target for _, target in linked]
    assert targets == [p.relative_to(LESSONS).as_posix() for p in FILES], "all, and in order"


def test_every_script_is_a_lesson_or_a_solution_that_is_run():
    scripts = {p for p in LESSONS.rglob("*.py") if p.parent != LESSONS}
    assert scripts == {*FILES, *SOLUTIONS}, "a file whose name or folder run_all.py skips"


def test_chapters_with_letters_and_solutions_are_listed(tmp_path, monkeypatch):
    for path in ("01_tensors/01_a.py", "A_lora/01_b.py", "solutions/A_lora/01_b.py",
                 "A_lora/helper.py", "plots/01_c.py", "solutions/01_d.py"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setattr(run_all, "SOLUTIONS", tmp_path / "solutions")
    assert run_all.lessons() == [tmp_path / "01_tensors/01_a.py", tmp_path / "A_lora/01_b.py"]
    assert run_all.solutions() == [tmp_path / "solutions/A_lora/01_b.py"]


@pytest.mark.parametrize(
    "source, arguments, code, message",
    [
        ("print('no plot')", [], 1, "it wrote no plot"),
        ("assert 1 + 1 == 3", [], 1, "AssertionError"),
        ("# full_run(\nimport sys; assert '--full' not in sys.argv; plot()", [], 0, "1 passed"),
        ("# full_run(\nimport sys; assert '--full' in sys.argv; plot()", ["--full"], 0, "1 passed"),
        ("import sys; assert '--full' not in sys.argv; plot()", ["--full"], 0, "1 passed"),
        ("plot()", ["99"], 1, "no lesson's path contains 99; there are\n01_c/01_a.py"),
        ("plot()", ["--jobs", "2"], 0, "1 passed"),
        ("plot()", ["--jobs", "0"], 2, "--jobs needs a number of 1 or more"),
        ("plot()", ["--jobs"], 2, "--jobs needs a number of 1 or more"),
        ("plot()", ["--record"], 2, "--record needs a folder"),
        ("plot()", ["--record", "out", "--full"], 2, "does not go with --full"),
        ("plot()", ["--ful"], 2, "unknown option --ful"),
        ("plot()", ["--help"], 0, "Run every lesson"),
    ],
)
def test_run_all(tmp_path, monkeypatch, capsys, source, arguments, code, message):
    folder = tmp_path / "01_c"
    (folder / "plots").mkdir(parents=True)
    plot = "def plot():\n    open('plots/01_a.png', 'w').close()\n"
    (folder / "01_a.py").write_text(plot + source, encoding="utf-8")
    (folder / "plots" / "01_a_old.png").touch()
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setattr(run_all, "SOLUTIONS", tmp_path / "solutions")
    assert run_all.main(arguments) == code
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("lesson", BACKPROP, ids=name_of)
def test_a_lesson_on_backprop_has_all_its_parts(lesson):
    """A question, by hand, with the package, assertions, a plot, a mistake, an exercise."""
    text = read(lesson)
    for part in (
        "**Question.**",
        "y hand",
        "tinygrad_llm",
        "save_plot(",
        "Break it",
        "## Exercises",
    ):
        assert part in text, f"{lesson.name} lacks {part!r}"
    assert len(re.findall(r"^\s*assert ", text, flags=re.M)) >= 3
    assert f'"{lesson.stem}"' in text, "the plot is called as the lesson is"


@pytest.mark.parametrize("lesson", CHAPTERS, ids=name_of)
def test_a_lesson_has_all_its_parts(lesson):
    """A question, by hand, with the package, shapes, assertions, a plot, exercises."""
    text = read(lesson)
    for part in ("**Question.**", "y hand", "ith the package", "shape", "save_plot("):
        assert part in text, f"{lesson.name} lacks {part!r}"
    assert len(re.findall(r"^\s*assert ", text, flags=re.M)) >= 3
    assert f'"{lesson.stem}' in text, "the plot is called as the lesson is"


@pytest.mark.parametrize("lesson", FILES, ids=name_of)
def test_a_lesson_says_what_it_needs_and_has_an_example_before_its_first_formula(lesson):
    first = read(lesson).split("\n# %%")[1]  # the cell with the question
    before_formulas = re.split(r"^#     \S", first, flags=re.M)[0]
    example = re.search(r"\*\*For example\.\*\* (.+?)\n#\n", before_formulas, re.S)
    assert example and re.search(r"\d|\"", example[1]), "numbers, or words of a text"
    assert re.search(r"\*\*You need\.\*\* [^\n]{5}", first)
    named = re.findall(r"[Cc]hapters? (\d\d|[A-Z])\b", first.partition("**You need.**")[2])
    chapters = {p.parent.name.partition("_")[0] for p in FILES}
    assert set(named) <= chapters


def exercises(text: str) -> list[str]:
    """The numbers of a lesson's exercises."""
    _, _, last = text.partition("\n# ## Exercises\n")
    return re.findall(r"^# (\d+)\. ", last, flags=re.M)


def sections(text: str) -> dict[str, str]:
    """Number -> the part of a file of solutions that answers the exercise of this number."""
    parts = re.split(r"^# ## (\d+)\. ", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("lesson", FILES, ids=name_of)
def test_every_exercise_has_a_solution_and_a_check(lesson):
    numbers = exercises(read(lesson))
    assert numbers and numbers == [str(i + 1) for i in range(len(numbers))]
    solution = run_all.SOLUTIONS / lesson.relative_to(LESSONS)
    assert solution in SOLUTIONS, f"{name_of(solution)} is missing"
    assert f"lessons/{solution.relative_to(LESSONS).as_posix()}" in read(lesson), "it is named"
    answers = sections(read(solution))
    assert list(answers) == numbers
    unchecked = set(numbers) - checked.exercises_that_assert(read(solution))
    assert not unchecked, f"no assertion reads what the answer of {unchecked} defines"


# Whether the assertions of all the files refuse wrong answers is seen where the solutions run:
# run_all.py runs them through checked.py, of which the next tests say what it lets pass.
ANSWER = "def double(x):\n    return 2 * x\n\n\n"


@pytest.mark.parametrize(
    "answer, refuses",
    [
        (ANSWER + "assert double(3) == 6", True),
        (ANSWER + "y = [double(x) for x in (1, 2)]\nassert y == [2, 4]", True),
        (ANSWER + "for x in (1, 2):\n    assert double(x) == x + x", True),
        (ANSWER + "def check():\n    y = double(2)\n    assert y == 4\n\n\ncheck()", True),
        ("import math\nx = math.pi\nassert abs(x - 3.14159) < 1e-4", True),
        ("word = 'cat'\nassert word.startswith('c') and len(word) == 3", True),
        ("flags = {'a': True}\nassert all(flags.values())", True),
        ("table = {1: 'one', 2: 'two'}\nassert table[1] == 'one'", True),
        ("a, b = [1.0, 2.0]\nassert a < b", True),
        ("import numpy as np\nx = np.arange(3.0)\nassert x.sum() == 3.0", True),
        ("from pathlib import Path\np = Path('a.txt')\nassert p.name == 'a.txt'", True),
        ("pairs = [[1, 2], [1, 2]]\nassert pairs[0] == pairs[1]", True),
        (ANSWER, False),
        (ANSWER + "assert True", False),
        (ANSWER + '"""\nassert double(3) == 6\n"""', False),
        (ANSWER + "def check():\n    assert double(3) == 6", False),
        (ANSWER + "if False:\n    assert double(3) == 6", False),
        (ANSWER + "assert double(3) == double(3)", False),
        (ANSWER + "assert double", False),
        (ANSWER + "assert double(3) == 6 or True", False),
        (ANSWER + "assert isinstance(double(3), int)", False),
        ("x = 3\nassert x == x", False),
        ("assert 1 + 1 == 2", False),
        ("import math\nassert math.log(1) == 0", False),
        ("assert before == 7", False),  # what another exercise defined
    ],
)
def test_a_check_that_refuses_no_wrong_answer_is_none(tmp_path, answer, refuses):
    source = "# # Solutions\n#\n# ## 1. One\n\n# %%\nbefore = 7\nassert before == 7\n\n"
    source += f"# ## 2. Two\n\n# %%\n{answer}\n"
    (tmp_path / "01_a.py").write_text(source, encoding="utf-8")
    done = checked_by_itself(tmp_path / "01_a.py")
    assert done.returncode == (0 if refuses else 1), done.stderr
    assert refuses or "exercise 2: no assertion refuses a wrong answer" in done.stderr


def checked_by_itself(path):
    command = [sys.executable, str(LESSONS / "checked.py"), str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_an_exercise_that_is_not_solved_or_is_solved_wrongly_fails(tmp_path):
    """A file of solutions, then without its first answer, then with a wrong one."""
    right = read(run_all.SOLUTIONS / "01_tensors/01_tensors.py")
    start, end = right.index("def strides_of("), right.index("for shape in ((2, 3, 5)")
    wrong = right.replace("        jump *= size\n", "        jump += size\n")
    programs = {
        right: "",
        right[:start] + right[end:]: "NameError: name 'strides_of' is not defined",
        wrong: "AssertionError",
    }
    assert len(programs) == 3
    for source, message in programs.items():
        (tmp_path / "01_a.py").write_text(source, encoding="utf-8")
        done = checked_by_itself(tmp_path / "01_a.py")
        assert bool(done.returncode) == bool(message) and message in done.stderr


def test_checking_changes_no_random_number(tmp_path):
    source = (
        "# ## 1. One\nimport random\nimport numpy as np\nimport tinygrad_llm as torch\n"
        "torch.manual_seed(0), random.seed(0), np.random.seed(0)\n"
        "def noise():\n    return torch.rand(1).item() + random.random() + np.random.rand()\n"
        "assert noise() > 0\nprint(torch.rand(1).item(), random.random(), np.random.rand())\n"
    )
    (tmp_path / "01_a.py").write_text(source, encoding="utf-8")
    plain = subprocess.run([sys.executable, str(tmp_path / "01_a.py")], capture_output=True)
    done = checked_by_itself(tmp_path / "01_a.py")
    assert plain.stdout and plain.stdout.decode() == done.stdout and not done.returncode


def test_every_solution_belongs_to_a_lesson():
    assert [p.relative_to(run_all.SOLUTIONS) for p in SOLUTIONS] == [
        p.relative_to(LESSONS) for p in FILES
    ]


@pytest.mark.parametrize("lesson", [*FILES, *SOLUTIONS], ids=name_of)
def test_a_lesson_opens_as_a_notebook(lesson):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(lesson)
    kinds = [cell.cell_type for cell in notebook.cells]
    least = 4 if lesson in FILES else 2
    assert kinds.count("code") >= least and kinds.count("markdown") >= least
    assert kinds[0] == "markdown" and notebook.cells[0].source.startswith("# ")
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", ())}
    assert tags <= {"package"}, "the one tag that tests/parity/test_lessons.py knows"


REFERENCE = re.compile(r"- \*\*[^*]+ \((\d{4})\)\.\*\* \*[^*]+\*\. [^.].+?\. \S.+\.")


@pytest.mark.parametrize("chapter", sorted({p.parent for p in FILES}), ids=lambda p: p.name)
def test_a_chapter_ends_with_references(chapter):
    """Authors (year), title, where, and what it adds."""
    lines = [x for x in read(chapter / "REFERENCES.md").splitlines() if x.startswith("- ")]
    years = [REFERENCE.fullmatch(line) for line in lines]
    assert len(lines) >= 5 and all(years), [x for x, y in zip(lines, years, strict=True) if not y]
    assert all(1930 <= int(match[1]) <= 2026 for match in years)
    assert len(set(lines)) == len(lines)
    for page in ("README.md", "README.ja.md"):
        assert f"({chapter.name}/REFERENCES.md)" in read(LESSONS / page)


def test_the_table_of_the_books_exercises_names_exercises_that_are_there():
    first, second = read(LESSONS / "BOOK.md").split("\n## ")[1:]
    numbers = re.compile(r"^\| ([A\d]\.\d) \|", re.M)
    assert len(set(numbers.findall(first))) == 25 and len(set(numbers.findall(second))) == 22
    rows = [x for x in (first + second).splitlines() if re.match(r"\| (ch\. \d|[A\d]\S*) \|", x)]
    assert len(rows) == 25 + 22 + 8
    for row in rows:
        for file, some in re.findall(r"\]\((\w+/\w+\.py)\)([^;\[|]*)", row):
            asked = [
                n for part in re.findall(r"exercises? (.+)", some) for n in re.findall(r"\d", part)
            ]
            assert set(asked) <= set(exercises(read(LESSONS / file))), row
        assert re.search(r"\]\(|`tinygrad-llm ", row), row


def test_the_map_of_the_course_names_each_chapter_and_has_no_circle():
    sys.path.insert(0, str(LESSONS.parent / "docs"))
    import course_pages

    course = course_pages.chapters()
    assert list(course) == sorted({p.parent.name for p in FILES})
    depth = course_pages.levels(course)  # RecursionError if there is a circle
    for name, chapter in course.items():
        assert all(depth[before] < depth[name] for before in chapter.needs)
        assert chapter.hours >= 1 and chapter.exercises >= 2 * chapter.lessons
        assert chapter.minutes >= 10 * chapter.lessons
    row = course_pages.rows_of(course)
    for name, chapter in course.items():
        assert all(row[before] < row[name] for before in chapter.needs)
    picture = ElementTree.fromstring(course_pages.drawn(course))
    assert float(picture.get("viewBox").split()[2]) <= 904  # four boxes: it fits a laptop's page
    kinds = [part.tag.rpartition("}")[2] for part in picture.iter()]
    assert kinds.count("rect") == len(course) + 1 and kinds.count("text") == 2 * len(course)
    assert kinds.count("path") == sum(len(chapter.needs) for chapter in course.values())
    assert course_pages.written("a_b*[c]") == r"a\_b\*\[c\]"


def test_full_run_is_asked_for_on_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lesson.py"])
    assert not full_run("all of it: an hour")
    assert capsys.readouterr().out == "(a short run; with --full: all of it: an hour)\n"
    monkeypatch.setattr(sys, "argv", ["lesson.py", "--full"])
    assert full_run("all of it: an hour")
    assert capsys.readouterr().out == "--full: all of it: an hour\n"


def test_missing_data_is_named_and_what_happens_instead(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINYGRAD_LLM_DATA", str(tmp_path))

    def load(name):
        remote = dataclasses.replace(corpora.NAMED[name], addresses=())
        return downloads.fetch(remote)

    assert get_or_explain(lambda: load("the-verdict"), "We read the manual.") is None
    printed = capsys.readouterr().out
    assert printed.startswith("missing: ") and "the-verdict.txt" in printed
    assert printed.endswith("\nInstead: We read the manual.\n")
    assert get_or_explain(lambda: 3, "-") == 3
    with pytest.raises(KeyError):
        get_or_explain(lambda: load("the-verdicts"), "-")


def executed(lesson, folder):
    """The lesson as a notebook after its run in a kernel, with its outputs."""
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = jupytext.read(lesson)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    first = next(c for c in notebook.cells if c.cell_type == "code")
    first.source = f"import sys; sys.path.insert(0, {str(LESSONS.parent)!r})\n" + first.source
    options = {
        "timeout": 240,
        "kernel_name": "python3",
        "resources": {"metadata": {"path": folder}},
    }
    return nbclient.NotebookClient(notebook, **options).execute()


def printed_by(notebook):
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return "".join(out.get("text", "") for c in cells for out in c.outputs)


def test_a_lesson_runs_as_a_notebook(tmp_path):
    notebook = executed(BACKPROP[0], tmp_path)
    assert (tmp_path / "plots" / f"{BACKPROP[0].stem}.png").stat().st_size > 5000
    assert "L = 16.0" in printed_by(notebook)


QUICK = (  # a short lesson of each chapter, run as a notebook; chapter 00 has its own test
    "01_tensors/01_tensors",
    "02_text/04_windows",
    "03_attention/01_plain",
    "04_gpt/01_layer_norm",
    "05_pretraining/05_gpt2_weights",
    "06_classification/01_data",
    "07_instructions/01_instructions",
    "08_preferences/01_dpo_loss",
    "09_families/02_grouped_queries",
    "10_quantisation/01_blocks",
    "11_attention_variants/05_linear_attention",
    "12_translation/01_encoder_decoder",
    "13_encoders/01_three_tokenizers",
    "14_tagging_and_similarity/01_crf",
    "15_summaries/01_scores_of_texts",
    "16_distributed/01_all_reduce_by_hand_in_a_ring",
    "17_reasoning/01_verifiers",
    "18_evaluation/04_chance_and_duplicates",
    "19_retrieval/02_words_or_vectors",
    "20_data_and_scaling/02_packing",
    "A_lora/01_low_rank",
    "B_training_extras/02_cosine",
)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", QUICK)
def test_a_lesson_of_each_chapter_runs_as_a_notebook(name, tmp_path):
    notebook = executed(LESSONS / f"{name}.py", tmp_path)
    text = printed_by(notebook)
    assert len(text) > 100 and f"plot: plots/{Path(name).name}" in text
    kinds = {out.output_type for c in notebook.cells if c.cell_type == "code" for out in c.outputs}
    assert "error" not in kinds
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"][-1] is not None
    assert list((tmp_path / "plots").glob(f"{Path(name).name}*.png"))


def test_each_chapter_has_a_lesson_that_runs_as_a_notebook():
    assert {n.partition("/")[0] for n in QUICK} | {BACKPROP[0].parent.name} == {
        p.parent.name for p in FILES
    }
    assert all((LESSONS / f"{n}.py").exists() for n in QUICK)


def test_record_writes_each_cells_output(tmp_path):
    lesson = tmp_path / "01_tensors" / "01_a.py"
    lesson.parent.mkdir()
    lesson.write_text(
        "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nimport os\n\nout = 3\nprint(1, __name__)\n"
        "\n# %%\nos.system('echo two')\nos.makedirs('plots')\nopen('plots/01_a.png', 'w').close()\n"
        "\n# %%\nassert out == 3\n",
        encoding="utf-8",
    )
    out = tmp_path / "out.json"
    command = [sys.executable, str(LESSONS / "record.py"), str(lesson), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stderr
    cells = json.loads(out.read_text(encoding="utf-8"))
    assert [cell["kind"] for cell in cells] == ["markdown", "code", "code", "code"]
    assert cells[0]["text"] == "# Title\n\ntext"
    assert [cell["output"] for cell in cells] == ["", "1 __main__\n", "two\n", ""]
    assert [cell["plots"] for cell in cells] == [[], [], ["01_a.png"], []]
