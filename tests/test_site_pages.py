"""The site's pages about other pages, without building it: nothing is forgotten, links lead on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import differences  # noqa: F401
        import lesson_pages  # noqa: F401 - a test imports it once more
        import reference
        import shown_formulas  # noqa: F401
        import site_pages
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return site_pages, reference


def test_every_lesson_has_its_question_in_japanese(modules, tmp_path):
    site_pages, _ = modules
    lesson = tmp_path / "course" / "00_backprop" / "01_scalar_tape.md"
    lesson.parent.mkdir(parents=True)
    lesson.write_text("# 1. A tape\n", encoding="utf-8")
    site_pages.write_japanese(tmp_path)
    folder = tmp_path / "ja" / "course"
    chapters = [
        p for p in sorted((ROOT / "lessons").iterdir()) if re.match(r"(\d\d|[A-Z])_", p.name)
    ]
    assert len(chapters) > 20
    for chapter in chapters:
        page = (folder / f"{chapter.name}.md").read_text(encoding="utf-8")
        names = re.findall(r"レッスン: \[?`(\w+)\.py`", page)
        assert names == [p.stem for p in sorted(chapter.glob("*.py"))], chapter
        assert page.count("\n## ") == len(names)
        for target in re.findall(r"\]\(([^)]+)\)", page):
            assert (folder / target).resolve() == lesson.resolve()


def test_every_example_has_a_page(modules, tmp_path):
    site_pages, _ = modules
    sources = site_pages.write_examples(tmp_path)
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert sorted(sources) == scripts and len(scripts) >= 12
    index = (tmp_path / "index.md").read_text(encoding="utf-8")
    for script in scripts:
        assert f"({script.stem}.md)" in index
        page = (tmp_path / f"{script.stem}.md").read_text(encoding="utf-8")
        assert page.startswith("# ") and script.read_text(encoding="utf-8") in page


def test_the_index_has_every_page(modules, tmp_path):
    site_pages, _ = modules
    for name, text in {
        "guide/find.md": "# Where", "course/a/b.md": "# 1. [A] b", "explain/relu.html":
        "<title>relu · tinygrad_llm</title>", "explain/steps/relu.html": "<title>x</title>",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    site_pages.write_index(tmp_path)
    index = (tmp_path / "all-pages.md").read_text(encoding="utf-8")
    assert "[1. A b](course/a/b.md)" in index and "[relu](explain/relu.html)" in index
    assert "steps" not in index


def test_the_table_of_ops_has_formulas_and_keeps_its_columns(modules, tmp_path):
    _, reference = modules
    reference.write_ops(tmp_path / "ops.md")
    rows = [r for r in (tmp_path / "ops.md").read_text("utf-8").splitlines() if r.startswith("| [")]
    assert len(rows) > 80
    for row in rows:
        assert row.count("|") == 6, row[:80]  # no formula has a column's sign of its table
    joined = reference._joined("y = a\nwraps here.\n    x = 1\n    z = 2\nand\non")
    assert joined == ["y = a wraps here.", "x = 1", "z = 2", "and on"]
    assert sum("<mfrac>" in row for row in rows) > 60


def test_plots_come_with_the_recorded_lessons(modules, tmp_path):
    import lesson_pages

    recorded, pages = tmp_path / "recorded", tmp_path / "pages"
    cell = {"kind": "code", "text": "1", "output": "", "plots": ["01_x.png"]}
    (recorded / "00_none" / "plots").mkdir(parents=True)
    (recorded / "00_none" / "01_x.json").write_text(json.dumps([cell]), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"00_none/01_x\.png is neither in .* record the lesson"):
        lesson_pages.write(recorded, pages)
    (recorded / "00_none" / "plots" / "01_x.png").write_bytes(b"png")
    lesson_pages.write(recorded, pages)
    assert (pages / "course" / "00_none" / "01_x.png").read_bytes() == b"png"


def test_a_picture_stands_before_the_first_formula_of_every_lesson(modules):
    import lesson_pages

    sys.path.insert(0, str(ROOT / "lessons"))
    try:
        from record import cells_of
    finally:
        sys.path.remove(str(ROOT / "lessons"))
    lessons = sorted((ROOT / "lessons").glob("*_*/[0-9]*.py"))
    assert len(lessons) > 100
    for lesson in lessons:
        first = {**cells_of(lesson.read_text(encoding="utf-8"))[0], "output": "", "plots": []}
        plot = {"kind": "code", "text": "1", "output": "", "plots": ["x.png"]}
        page = lesson_pages._page([first, plot], lesson.stem, "00_a/01_x", "")
        picture, example = page.index("(x.png)"), page.index("**For example.")
        formula = re.search(r"^    \S", page, re.M)
        assert picture < example, lesson
        assert formula is None or example < formula.start(), lesson


def test_recording_a_lesson_copies_its_plots(tmp_path):
    lesson = tmp_path / "00_a" / "01_x.py"
    (lesson.parent / "plots").mkdir(parents=True)
    code = "from pathlib import Path\nPath('plots/01_x.png').write_bytes(b'png')\n"
    lesson.write_text(f"# %% [markdown]\n# # X\n\n# %%\n{code}", encoding="utf-8")
    out = tmp_path / "recorded" / "00_a" / "01_x.json"
    command = [sys.executable, str(ROOT / "lessons" / "record.py"), str(lesson), str(out)]
    subprocess.run(command, check=True, timeout=60)
    assert json.loads(out.read_text("utf-8"))[1]["plots"] == ["01_x.png"]
    assert (out.parent / "plots" / "01_x.png").read_bytes() == b"png"


def test_the_reference_links_to_what_differs_from_pytorch(modules, tmp_path):
    _, reference = modules
    reference.write_api(tmp_path)
    for page in reference.OF_PYTORCH:
        text = (tmp_path / f"{page}.md").read_text(encoding="utf-8")
        assert "(../guide/pytorch.md)" in text.split(":::")[0], page
    assert "pytorch.md" not in (tmp_path / "study.md").read_text(encoding="utf-8")


def test_packages_of_gpus_precision_and_random_numbers_have_a_page(modules, tmp_path):
    _, reference = modules
    reference.write_api(tmp_path)
    shown = {page: (tmp_path / f"{page}.md").read_text("utf-8") for page in reference.API}
    assert "::: tinygrad_llm.cuda.queries" in shown["cuda"] and "memory_stats" in shown["cuda"]
    assert "members: [GradScaler]" in shown["amp"] and "functions.md" in shown["amp"]
    assert "fork_rng" in shown["random"] and "::: tinygrad_llm.random.generator" in shown["random"]
    assert "random.normal" not in shown["random"]  # how the numbers are made: not a name to use
    import differences

    listed = differences.entries()
    for path in ("cuda.manual_seed", "amp.GradScaler", "random.get_rng_state",
                 "random.generator.Generator", "functions.autocast.autocast"):  # fmt: skip
        assert listed[f"tinygrad_llm.{path}"], path


def has_entry(path, pages):
    """Whether one of these pages of the reference shows the object of this path."""
    for text in pages:
        for block in text.split("::: ")[1:]:
            module, _, options = block.partition("\n")
            members = re.search(r"members: \[(.*)\]", options)
            name = path.removeprefix(f"{module}.").partition(".")[0]
            shown = members is None or name in members[1].split(", ")
            if path.startswith(f"{module}.") and shown and not name.startswith("_"):
                return True
    return False


def test_each_name_of_the_lists_of_differences_is_known_and_has_an_entry(modules, tmp_path):
    _, reference = modules
    import differences

    reference.write_api(tmp_path)
    pages = [(tmp_path / f"{page}.md").read_text("utf-8") for page in reference.OF_PYTORCH]
    entries = differences.entries()
    for one in differences.differences():
        assert not one.unknown, one.text
        for name, objects in one.names.items():
            for path in map(differences.path_of, objects):
                assert one in entries[path] and has_entry(path, pages), (name, path)
    for name in ("cdist", "multinomial", "layer_norm", "Muon", "save", "ndtr", "compile", "grad"):
        assert any(path.endswith(f".{name}") for path in entries), name


@pytest.mark.parametrize(
    "text, names, unknown",
    [
        ("`cdist` and `F.cdsit`", ["cdist"], ["F.cdsit"]),
        ("`x[0]` of `torch.add` with `alpha`, `beta`", ["torch.add"], ["beta"]),
        ("`Muon` with `nesterov=False` or `nestrov=True`", ["Muon"], ["nestrov=True"]),
        ("`vmap` and `irfft` are not there, `python -m x` and `a.pth/b` are not names", [], []),
    ],
)
def test_a_misspelt_name_among_the_differences_is_seen(modules, text, names, unknown):
    import differences

    item = differences._read(text, "")
    assert list(item.names) == names and item.unknown == unknown


def test_an_entry_of_the_reference_says_what_differs(modules, monkeypatch):
    griffe = pytest.importorskip("griffe")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import differences
    import what_differs

    extensions = griffe.load_extensions(what_differs.WhatDiffers)
    entries = differences.entries()
    seen = set()
    for module in {path.rpartition(".")[0] for path in entries}:
        file = Path(sys.modules[module].__file__)
        loaded = griffe.visit(module, file, file.read_text("utf-8"), extensions=extensions)
        for name, member in loaded.members.items():
            text = "" if member.is_alias or not member.docstring else member.docstring.value
            items = entries.get(f"{module}.{name}", [])
            assert text.count("**What differs:**") == len(items), name
            for item in items:
                assert f"**What differs:** {item.text} (" in text
                assert f"]({item.page})" in text
                seen.add(f"{module}.{name}")
    assert seen == set(entries)


def test_the_site_is_built_with_the_extension_that_shows_differences(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import build

    (tmp_path / "pages" / "course").mkdir(parents=True)
    build.configure(tmp_path)
    settings = json.loads((tmp_path / "mkdocs.yml").read_text(encoding="utf-8"))
    (handlers,) = (p["mkdocstrings"] for p in settings["plugins"] if "mkdocstrings" in p)
    (extension,) = handlers["handlers"]["python"]["options"]["extensions"]
    assert Path(extension) == ROOT / "docs" / "what_differs.py"


def test_pages_to_step_through_lead_back_and_name_no_line_of_the_builder(modules, tmp_path):
    site_pages, reference = modules
    site_pages.write_played(tmp_path)
    pages = sorted(tmp_path.glob("*.html"))
    assert len(pages) >= 5
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert '<nav><a href="../index.html">Start</a>' in text, page.name
        assert "site_pages.py" not in text, page.name
    assert "mathml" in text.lower() or "\\u003cmath" in text  # formulas of the backward pass
    assert reference._back("relu")["relu explained"] == "../relu.html"


def test_notebooks_of_a_known_repository_install_the_package_first(modules, monkeypatch):
    import lesson_pages

    cells = [{"kind": "code", "text": "1", "output": "", "plots": []}]
    monkeypatch.delenv("TINYGRAD_LLM_REPOSITORY", raising=False)
    assert [c["source"] for c in lesson_pages._notebook(cells)["cells"]] == ["1"]
    assert "Colab" not in lesson_pages._offers("01_x", "00_a/01_x")
    monkeypatch.setenv("TINYGRAD_LLM_REPOSITORY", "https://github.com/someone/tinygrad_llm")
    first, second = lesson_pages._notebook(cells)["cells"]
    assert 'pip install -q "tinygrad_llm[lessons] @ git+https://github.com/' in first["source"]
    assert second["source"] == "1" and first["id"] != second["id"]
    address = "https://colab.research.google.com/github/someone/tinygrad_llm/blob/"
    offered = lesson_pages._offers("01_x", "00_a/01_x")
    branch, path = re.search(re.escape(address) + r"(\w+)/(\S+)\)", offered).groups()
    workflow = (ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8")
    assert f"git init -q -b {branch}" in workflow and path == "course/00_a/01_x.ipynb"


def test_no_line_of_the_map_passes_behind_a_box():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import course_pages
    finally:
        sys.path.remove(str(ROOT / "docs"))
    course = course_pages.chapters()
    svg = course_pages.drawn(course)
    number = r"(-?[\d.]+)"
    size = f'width="{course_pages.WIDTH}" height="{course_pages.HEIGHT}"'
    boxes = [
        tuple(map(float, corner)) for corner in re.findall(f'x="{number}" y="{number}" {size}', svg)
    ]
    assert len(boxes) == len(course)
    lines = re.findall(r'<path d="([^"]+)"', svg)
    assert len(lines) == sum(len(chapter.needs) for chapter in course.values())
    straight = 0
    for line in lines:
        points = re.findall(f"(?:M|C[^CV]* ){number} {number}|V{number}", line)
        for (x, top, _), (_, _, bottom) in zip(points, points[1:], strict=False):
            if not bottom:
                continue  # a bend, which stays between two rows
            straight += 1
            for left, upper in boxes:
                outside = not left < float(x) < left + course_pages.WIDTH
                apart = float(bottom) <= upper or float(top) >= upper + course_pages.HEIGHT
                assert outside or apart, line
    assert straight > 10


def test_formulas_of_built_pages_are_mathml_and_code_stays(modules):
    import shown_formulas

    block = '<div class="highlight"><pre><span></span><code>{}</code></pre></div>'
    texts = {
        "formula": block.format("s_ij = x_i·x_j     how similar\n\nc_i = Σⱼ a_ij·x_j"),
        "python": block.format("x = 1\ny = x + 1"),
        "inline": "<p>Here <code>y = x·w</code> and y = x² &lt; 4, bytes &lt;0x41 &amp; √D.</p>",
        "title": "<h2>The sum Σ x²</h2>",
    }
    page = f'<nav>Σ x²</nav><article class="md-content__inner">{"".join(texts.values())}</article>'
    shown = shown_formulas.with_mathml(page)
    alt = re.findall('<math alttext="([^"]*)"', shown)
    assert alt == ["s_ij = x_i·x_j", "c_i = Σⱼ a_ij·x_j", "y = x² &lt; 4", "√D"]
    assert texts["python"] in shown and texts["title"] in shown and "<nav>Σ x²</nav>" in shown
    assert "<code>y = x·w</code>" in shown and "bytes &lt;0x41 &amp; <math" in shown
    assert shown.count('<div class="formulas"><p>') == 1 and "how similar</p><p>" in shown


def test_every_chapter_of_the_map_leads_to_its_first_lesson(modules, tmp_path):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import course_pages
    finally:
        sys.path.remove(str(ROOT / "docs"))
    for lesson in (ROOT / "lessons").glob("*_*/[0-9]*.py"):
        recorded = tmp_path / "recorded" / lesson.parent.name / f"{lesson.stem}.json"
        recorded.parent.mkdir(parents=True, exist_ok=True)
        recorded.write_text("[]", encoding="utf-8")
    course_pages.write(tmp_path / "pages", tmp_path / "recorded")
    text = (tmp_path / "pages" / "course" / "map.md").read_text(encoding="utf-8")
    places = re.findall(r"^\| \[`\w+`\]\((\w+/01_\w+)\.md\) \|", text, re.M)
    assert len(places) == len(course_pages.chapters())
    assert all((ROOT / "lessons" / f"{place}.py").exists() for place in places)
