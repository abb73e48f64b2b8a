"""What every lab's file keeps, so that it reads, diffs and runs the same everywhere."""

import ast
import re
import string
import symtable

import nbformat
import pytest

from slmlab.lessons import questions
from slmlab.notebooks.labs import all_labs, has_tag

LABS = all_labs()
NOTEBOOKS = {lab.name: lab.notebook() for lab in LABS}
LONGEST_CODE_CELL = 15
NOT_PYTHON = re.compile(r"^\s*[%!?]|\?\s*$", re.MULTILINE)
INSTALLS = re.compile(
    r"\b(pip|conda|apt|subprocess|os\.system|get_ipython|sys\.path|run_line_magic)\b"
)
RANDOM_ID = re.compile(r"[0-9a-f]{6,}")
LOADS = re.compile(r"(engines|llama_cpp)\.load|measurement\.(speed|perplexity|kl_divergence)")
LOADED_AGAIN = {
    "llama_cpp": {
        "files['F16']": "for other sequences, another context, or another type of KV cache",
        "files['Q4_0']": "for one sequence, and for eight",
    },
    "bitnet": {"path": "which names random weights the second time"},
}

every_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)


def cells(lab, kind):
    return [cell for cell in NOTEBOOKS[lab.name].cells if cell.cell_type == kind]


def words(lab):
    text = " ".join(cell.source for cell in cells(lab, "markdown"))
    return sum(any(sign in string.ascii_letters for sign in word) for word in text.split())


@every_lab
def test_it_is_a_valid_notebook_of_format_4_5(lab):
    notebook = NOTEBOOKS[lab.name]
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)


@every_lab
def test_its_kernel_is_plain_python3(lab):
    assert NOTEBOOKS[lab.name].metadata.kernelspec == {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }


@every_lab
def test_it_holds_no_outputs(lab):
    for cell in cells(lab, "code"):
        assert cell.outputs == [], cell.id
        assert cell.execution_count is None, cell.id


@every_lab
def test_its_cells_have_names_that_are_unique_and_mean_something(lab):
    names = [cell.id for cell in NOTEBOOKS[lab.name].cells]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name)
        assert not RANDOM_ID.fullmatch(name), name
        assert re.search("[a-z]{2}|^q[0-9]", name), name


@every_lab
def test_one_cell_holds_the_parameters(lab):
    [cell] = [cell for cell in cells(lab, "code") if has_tag(cell, "parameters")]
    assigned = {
        node.targets[0].id: node.value.value
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
    }
    assert assigned == {"profile": "quick", "model": "smollm2-135m-instruct"}


@every_lab
def test_its_code_is_plain_python_that_installs_nothing(lab):
    for cell in cells(lab, "code"):
        assert not NOT_PYTHON.search(cell.source), cell.id
        assert not INSTALLS.search(cell.source), cell.id
        ast.parse(cell.source)
        assert cell.source.strip(), f"{cell.id} is empty"


@every_lab
def test_it_loads_no_model_twice_without_need(lab):
    """A model as the code names it; a widget is optional, and may load one for itself."""
    loaded = [
        ast.unparse(call.args[0])
        for cell in cells(lab, "code")
        if not cell.id.startswith("widget-")
        for call in ast.walk(ast.parse(cell.source))
        if isinstance(call, ast.Call) and LOADS.fullmatch(ast.unparse(call.func))
    ]
    twice = {model for model in loaded if loaded.count(model) > 1}
    assert twice == LOADED_AGAIN.get(lab.unit, {}).keys()


@every_lab
def test_its_code_cells_are_short(lab):
    for cell in cells(lab, "code"):
        assert len(cell.source.splitlines()) <= LONGEST_CODE_CELL, cell.id


@every_lab
def test_no_copied_helpers(lab):
    for cell in cells(lab, "code"):
        kinds = [type(node) for node in ast.walk(ast.parse(cell.source))]
        assert ast.ClassDef not in kinds, cell.id


@every_lab
def test_every_image_says_in_words_what_it_shows(lab):
    for cell in cells(lab, "markdown"):
        for alt in re.findall(r"!\[([^\]]*)\]", cell.source):
            assert len(alt) > 10, cell.id
        for tag in re.findall(r"<img[^>]*>", cell.source):
            assert re.search(r'alt="[^"]{10,}"', tag), cell.id


@every_lab
def test_pictures_are_shown_only_with_their_words(lab):
    """`show.figure` refuses a picture without a text alternative; nothing may go around it."""
    for cell in cells(lab, "code"):
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call):
                name = ast.unparse(call.func)
                assert not re.search(r"\b(pyplot|plt|imshow|savefig|Image)\b", name), cell.id
                if name == "show.figure":
                    assert len(call.args) + len(call.keywords) == 2, cell.id


@every_lab
def test_its_length_is_an_hour_and_not_a_day(lab):
    is_preface = lab.unit == "start_here"
    assert len(NOTEBOOKS[lab.name].cells) in range(12 if is_preface else 25, 46)
    assert words(lab) in range(800 if is_preface else 1500, 2501)


@every_lab
def test_it_opens_with_a_title_and_closes_with_what_we_saw(lab):
    first, *_, last = cells(lab, "markdown")
    assert first.source.startswith("# ")
    assert NOTEBOOKS[lab.name].cells[0].id == first.id
    assert re.search(r"^#* ?\**What we saw", last.source, re.MULTILINE)


@every_lab
def test_its_links_need_no_network_of_ours(lab):
    for cell in cells(lab, "markdown"):
        for target in re.findall(r"\]\(([^)]+)\)", cell.source):
            assert (
                target.startswith(("https://", "#", "attachment:"))
                or (lab.path.parent / target.partition("#")[0]).exists()
            ), (cell.id, target)


def assigned(code):
    names = symtable.symtable(code, "cell", "exec").get_symbols()
    return {name.get_name() for name in names if name.is_assigned()}


@every_lab
def test_no_answer_overwrites_what_the_lab_goes_on_with(lab):
    names = set().union(*(assigned(cell.source) for cell in cells(lab, "code"))) - {"answer"}
    for question in questions(lab.unit):
        for code in (question.solution_code, *(wrong.code for wrong in question.wrong_answers)):
            assert not assigned(code) & names, f"{question.name}: {code}"
