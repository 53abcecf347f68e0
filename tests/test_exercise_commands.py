"""tinygrad-llm exercise: start, check, hint, solution, list, and the progress that is kept."""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import textwrap
from pathlib import Path

import pytest

from tinygrad_llm import cli
from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.study.exercises import Progress, exercise, exercises
from tinygrad_llm.study.exercises import quiz as quiz_module
from tinygrad_llm.study.exercises.formula import formula_of, without_formula
from tinygrad_llm.study.exercises.from_op import PART_OF_BACKWARD, SHORT_WAYS
from tinygrad_llm.study.exercises.quiz import chapter_of, chapters, questions

NAMES = [e.name for e in exercises()]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["exercise", *arguments])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_a_first_exercise_from_start_to_pass(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "list")
    assert code == 0 and f"0 of {len(NAMES)} passed" in out and "start neg" in out
    code, out, _ = run(capsys, "start")
    path = tmp_path / "exercises" / "neg.py"
    assert code == 0 and path.exists() and "neg" in out
    code, out, _ = run(capsys, "check")
    assert code == 1 and "no gradient yet" in out and "4 hints left" in out
    code, out, _ = run(capsys, "hint")
    assert code == 0 and out.startswith("1/4") and "2/4" not in out
    code, out, _ = run(capsys, "hint")
    assert "2/4" in out
    path.write_text(path.read_text("utf-8").replace("return None", "return g"), "utf-8")
    code, out, _ = run(capsys, "check")
    assert code == 1 and "[sign forgotten]" in out
    path.write_text(path.read_text("utf-8").replace("return g", "return -g"), "utf-8")
    code, out, _ = run(capsys, "check", "neg")
    assert code == 0 and "Passed: 1 of" in out and "start clone" in out
    code, out, _ = run(capsys, "list", "--chapter", "chain")
    assert "✓ neg" in out and "softmax" not in out
    assert json.loads((tmp_path / "exercises" / "progress.json").read_text())["done"] == ["neg"]
    code, out, _ = run(capsys, "start")
    assert "clone" in out


def test_start_keeps_what_is_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(capsys, "start", "exp")
    path = tmp_path / "exercises" / "exp.py"
    path.write_text("mine", "utf-8")
    code, out, _ = run(capsys, "start", "exp")
    assert code == 0 and path.read_text("utf-8") == "mine" and "--again" in out
    run(capsys, "start", "exp", "--again")
    assert "your lines" in path.read_text("utf-8")
    assert (tmp_path / "exercises" / "exp.old.py").read_text("utf-8") == "mine"


def test_no_ops_class_says_the_formula_after_it_was_cut_out():
    for name in (e.name for e in exercises() if e.is_op):
        doc = inspect.getdoc(OPS[name])
        formula = formula_of(doc)
        source = without_formula(textwrap.dedent(inspect.getsource(OPS[name])), name)
        cut = ast.get_docstring(ast.parse(source).body[0])
        assert formula and "Backward: derive it." in cut and "Saves " in cut, name
        assert not any(line.strip() in cut for line in formula.split("\n") if len(line) > 12), name
        assert not re.search(r"= [−-]?g[·/.,\s]", cut), name


OPS_TO_DERIVE = [e.name for e in exercises() if e.is_op]


@pytest.mark.parametrize("name", OPS_TO_DERIVE)
@pytest.mark.suite_cases(12)
def test_the_last_hint_to_derive_is_the_formula_and_none_before_states_it(name):
    e = exercise(name)
    *earlier, last = e.hints(derive=True)
    formula = formula_of(inspect.getdoc(OPS[name]))
    assert last == f"The formula: {formula}" and len(earlier) >= 3
    assert e.hints() != e.hints(derive=True)
    assert "Backward: derive it." in e.template(derive=True) and ast.parse(e.template(derive=True))
    assert "Backward: derive it." not in e.template()
    parts = re.split(r"\s{2,}|,\s|\.\s|;\s", formula)  # "∂L/∂x = g·W" is one
    right = [part.partition("=")[2].strip(" .,") for part in parts if part.startswith("∂")]
    for hint in earlier:
        stated = [r for r in right if "g" in r and len(r) > 2 and r in hint]
        assert not stated and not re.search(r"∂L/∂\w+ = [−-]?g[·/]", hint), hint


def test_a_file_does_not_hold_a_part_of_the_answer():
    for name, part in PART_OF_BACKWARD.items() | SHORT_WAYS.items():
        for derive in (False, True):
            words = set(re.findall(r"\w+", exercise(name).template(derive)))
            assert not words & set(part), name
    assert "_backward_of_prod" in exercise("scatter_reduce").solution()
    for name in OPS_TO_DERIVE:  # and no method's docstring states a formula
        cls = ast.parse(exercise(name).template(True)).body[-1]
        methods = [node for node in cls.body if isinstance(node, ast.FunctionDef)]
        stated = [m.name for m in methods if "∂L/∂" in (ast.get_docstring(m) or "")]
        assert not stated, name


def test_an_exercise_that_was_started_to_be_derived(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "start", "cross_entropy", "--derive")
    path = tmp_path / "exercises" / "cross_entropy.py"
    assert code == 0 and "onehot(t): the predicted minus" not in path.read_text("utf-8")
    code, out, _ = run(capsys, "hint", "--all")
    assert code == 0 and "7/7  The formula: every logit" in out
    head, mark, _ = path.read_text("utf-8").partition("    def backward(self, g):")
    answer = exercise("cross_entropy").solution().partition(mark)[2]
    path.write_text(head + mark + answer, "utf-8")
    code, out, _ = run(capsys, "check")
    assert code == 0, out
    run(capsys, "start", "cross_entropy", "--again")
    assert "the predicted minus" in path.read_text("utf-8")
    code, out, _ = run(capsys, "hint", "--all")
    assert "The formula" not in out
    code, out, _ = run(capsys, "start", "no_grad", "--derive")
    assert code == 0 and "built, not derived" in out


def test_solution_and_errors(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "solution", "exp")[1] == exercise("exp").solution()
    for arguments, word in (
        (["check"], "name an exercise"),
        (["check", "exp"], "start with tinygrad-llm exercise start exp"),
        (["start", "layer_nrm"], "did you mean layer_norm"),
        (["list", "--chapter", "zzz"], "no chapter"),
        (["chek"], "No such command"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2 and word in err and "Traceback" not in err
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "progress.json").write_text("{")
    code, _, err = run(capsys, "list")
    assert code == 2 and "is not JSON" in err


def test_progress_goes_round(tmp_path):
    progress = Progress(tmp_path)
    progress.passed(NAMES[-1])
    assert progress.next_exercise(NAMES[-2]).name == NAMES[0]
    for name in NAMES:
        progress.passed(name)
    assert progress.next_exercise() is None
    progress.save()
    assert Progress(tmp_path).done == progress.done


@pytest.mark.parametrize("chapter", chapters())
def test_a_quiz_has_ten_questions_with_one_right_answer_and_its_reason(chapter):
    asked = questions(chapter)
    assert len(asked) == 10 and len({q.text for q in asked}) == 10
    for q in asked:
        assert len(set(q.answers)) == len(q.answers) >= 3 and 0 <= q.right < len(q.answers), q.text
        assert len(q.why) > 15 and q.text[-1] in "?:." and all(q.answers), q.text
    rights = [q.right for q in asked]
    assert len(set(rights)) == 3 and max(map(rights.count, rights)) < 7, "no place to guess"


@pytest.mark.parametrize("chapter", chapters())
def test_the_right_answer_is_not_known_by_its_length(chapter):
    """By chance it would be the longest of three in 3 or 4 of 10."""
    longest = [
        q.text
        for i, q in enumerate(questions(chapter))
        if all(len(q.answers[q.right]) > len(a) for a in q.answers if a != q.answers[q.right])
    ]
    assert len(longest) <= 5, longest


def test_over_all_quizzes_length_and_place_say_as_little():
    every = [q for chapter in chapters() for q in questions(chapter)]
    longest = sum(len(q.answers[q.right]) == max(map(len, q.answers)) for q in every)
    assert longest < 0.48 * len(every)
    for place in range(3):
        assert 0.25 < sum(q.right == place for q in every) / len(every) < 0.42, place


def test_the_places_of_answers_do_not_depend_on_the_file(tmp_path, monkeypatch):
    """Another order of questions, or of the answers of one, shows the same places."""
    text = (quiz_module.FOLDER / "A_lora.txt").read_text("utf-8")
    first = {q.text: q for q in questions("A_lora")}
    turned = []
    for part in reversed(text.strip().split("\n\n")):
        lines = part.splitlines()
        answers = [line for line in lines if line[:2] in ("- ", "+ ")]
        at = lines.index(answers[0])
        turned.append("\n".join(lines[:at] + answers[::-1] + lines[at + len(answers) :]))
    (tmp_path / "turned.txt").write_text("\n\n".join(turned) + "\n", encoding="utf-8")
    monkeypatch.setattr(quiz_module, "FOLDER", tmp_path)
    again = questions("turned")
    questions.cache_clear()
    assert [q.text for q in again] == list(first)[::-1]
    assert all(first[q.text] == q for q in again)


def test_the_answers_that_are_shown_are_those_that_are_asked(capsys):
    code, out, _ = run(capsys, "quiz", "A_lora", "--answers")
    lines, expected = out.splitlines(), []
    for q in questions("A_lora"):
        expected += [f"   {'abc'[i]}) {answer}" for i, answer in enumerate(q.answers)]
        letter = "abc"[q.right]
        assert f"   {letter}. {q.why}" in lines
    assert code == 0 and [line for line in lines if line[3:6] in ("a) ", "b) ", "c) ")] == expected


def test_quizzes_are_written_in_the_same_words_as_the_rest():
    from test_words import phrases_in

    files = sorted(quiz_module.FOLDER.glob("*.txt"))
    assert [phrase for path in files for phrase in phrases_in(path)] == []


def test_each_chapter_of_the_lessons_has_a_quiz():
    folder = Path(__file__).parent.parent / "lessons"
    assert chapters() == sorted(p.parent.name for p in folder.glob("[0-9A-Z]*_*/01_*.py"))


def test_a_quiz_is_asked_and_its_best_result_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    right = ["abc"[q.right] for q in questions("A_lora")]
    wrong = ["a" if letter != "a" else "b" for letter in right[:3]]
    for typed, result in (
        (["z", "", *right], "A_lora: 10 of 10 right\n"),
        (wrong + right[3:], "A_lora: 7 of 10 right, your best 10"),
        (right[:4], "Ended: 4 of 4 right"),
        (right[:2] + ["q"], "Ended: 2 of 2 right"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed) + "\n"))
        code, out, _ = run(capsys, "quiz", "lora")
        assert code == 0 and result in out
    assert "'z' is not one of a, b, c" not in out and Progress(tmp_path / "exercises").quiz == {
        "A_lora": 10
    }
    code, out, _ = run(capsys, "quiz")
    assert "✓ A_lora" in out and "10/10" in out and "quiz 00_backprop" in out
    code, out, _ = run(capsys, "list", "--chapter", "Products")
    assert "1 of 23 quizzes without a mistake" in out
    code, out, _ = run(capsys, "quiz", "A", "--answers")
    assert code == 0 and out.count(") ") >= 30 and "Why does B begin at zero?" in out


def test_a_quiz_of_an_unknown_chapter(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        chapter_of("3") == chapter_of("03") == "03_attention" and chapter_of("0") == chapters()[0]
    )
    for name, words in (
        ("attention", "may be 03_attention or 11_attention_variants"),
        ("99", "there is no chapter '99'"),
        ("lorra", "did you mean A_lora"),
        ("", "there is no chapter ''"),
    ):
        code, _, err = run(capsys, "quiz", name)
        assert code == 2 and words in err and "Traceback" not in err
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "progress.json").write_text('{"quiz": {"A_lora": "ten"}}')
    code, _, err = run(capsys, "quiz", "lora")
    assert code == 2 and "'quiz' should map names to numbers" in err
