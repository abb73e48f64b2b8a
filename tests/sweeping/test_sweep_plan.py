"""A plan becomes tasks with stable names, or one sentence says what is wrong with it."""

import shutil

import pytest

from slmlab.errors import UsageError
from slmlab.sweeping import Plan, Task, read_plan
from slmlab.sweeping.measuring import _MEASURED_BY
from slmlab.sweeping.summary import _TOLERANCE
from slmlab.sweeping.task import QUANTITIES, TIMED

SMOLLM2 = "smollm2-135m-instruct"
MINIMAL = f'models = ["{SMOLLM2}"]\nquantisations = ["Q4_0"]\n'


@pytest.fixture
def plan(tmp_path):
    """Read a plan with these lines."""

    def read(text):
        path = tmp_path / "plan.toml"
        path.write_text(text, "utf-8")
        return read_plan(path)

    return read


def test_a_plan_needs_models_and_quantisations_alone(plan):
    assert plan(MINIMAL) == Plan((SMOLLM2,), ("Q4_0",))


def test_it_stands_for_every_combination():
    plan = Plan((SMOLLM2,), ("Q4_0", "Q8_0"), texts=("prose", "code", "verses"), repetitions=2)
    tasks = plan.tasks()
    kinds = [task.quantity for task in tasks]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "size": 2 * 2,
        "perplexity": 2 * 2 * 3,
        "speed": 2 * 2,
        "memory": 2 * 2,
    }
    assert len({task.id for task in tasks}) == len(tasks)


def test_an_engine_gets_the_quantisations_that_it_has():
    plan = Plan((SMOLLM2,), ("Q4_0", "int4", "float32"), ("llama_cpp", "onnx"), measure=("size",))
    assert [(task.engine, task.quantisation) for task in plan.tasks()] == [
        ("llama_cpp", "Q4_0"),
        ("onnx", "int4"),
        ("onnx", "float32"),
    ]


def test_timed_tasks_come_last():
    tasks = Plan((SMOLLM2,), ("Q4_0", "Q8_0"), measure=("speed", "size", "memory")).tasks()
    assert [task.is_timed for task in tasks] == [False, False, True, True, True, True]


def test_names_of_tasks_do_not_depend_on_order():
    one = Plan((SMOLLM2,), ("Q4_0", "Q8_0"), measure=("size", "speed"))
    other = Plan((SMOLLM2,), ("Q8_0", "Q4_0"), measure=("speed", "size"))
    assert {task.id for task in one.tasks()} == {task.id for task in other.tasks()}


def test_the_name_of_a_task_is_the_same_today_and_tomorrow():
    task = Task("speed", SMOLLM2, "llama_cpp", "Q4_0", 1, "ab12", prompt_tokens=8, runs=1)
    assert task.id == "e16344b015caf823"


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("chunks", 3, {"perplexity"}),
        ("context", 64, {"perplexity", "memory"}),
        ("texts", ("code",), {"perplexity"}),
        ("decode_tokens", 3, {"speed"}),
        ("runs", 1, {"speed"}),
        ("repetitions", 2, set()),
        ("quantisations", ("Q8_0",), {"size", "perplexity", "speed", "memory"}),
    ],
)
def test_only_what_a_change_concerns_is_measured_anew(key, value, changed):
    minimal = {"models": (SMOLLM2,), "quantisations": ("Q4_0",)}
    before = Plan(**minimal).tasks()
    after = {task.id for task in Plan(**minimal | {key: value}).tasks()}
    assert {task.quantity for task in before if task.id not in after} == changed


def test_files_count_by_name_and_content_wherever_they_are(tmp_path):
    names = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "own.gguf").write_bytes(b"a model")
        (folder / "own.txt").write_text("A text.")
        text = 'models = ["own.gguf"]\nquantisations = ["Q4_0"]\ntexts = ["own.txt"]\n'
        (folder / "plan.toml").write_text(text)
        tasks = read_plan(folder / "plan.toml").tasks()
        assert tasks[0].model == str((folder / "own.gguf").resolve())
        names.append([task.id for task in tasks])
    assert names[0] == names[1]
    (folder / "own.gguf").write_bytes(b"another model")
    changed = [task.id for task in read_plan(folder / "plan.toml").tasks()]
    assert not set(changed) & set(names[0])


def test_a_file_that_has_gone_is_a_sentence(tmp_path):
    shutil.copy(__file__, tmp_path / "own.txt")
    plan = Plan((SMOLLM2,), ("Q4_0",), texts=(str(tmp_path / "own.txt"),))
    (tmp_path / "own.txt").unlink()
    with pytest.raises(UsageError, match=r"own\.txt is not here"):
        plan.tasks()


def test_what_is_no_text_is_a_sentence(tmp_path):
    (tmp_path / "own.txt").write_bytes(b"caf\xe9")
    plan = Plan((SMOLLM2,), ("Q4_0",), texts=(str(tmp_path / "own.txt"),))
    with pytest.raises(UsageError, match=r"own\.txt is not text in UTF-8"):
        plan.tasks()


def test_every_quantity_has_a_way_to_measure_it_and_is_timed_or_has_a_tolerance():
    assert _MEASURED_BY.keys() == QUANTITIES.keys()
    assert _TOLERANCE.keys() == QUANTITIES.keys() - set(TIMED)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MINIMAL + "repetition = 2", "no key 'repetition' in a plan; choose models, quant"),
        ('models = ["smollm2-135m-instruct"]', "the key 'quantisations' is missing"),
        (MINIMAL.replace("smollm2", "smollm3"), "no model card named 'smollm3-135m-instruct'"),
        (MINIMAL.replace("Q4_0", "Q4_9"), "no quantisation 'Q4_9' here; choose F16, Q8_0"),
        (MINIMAL.replace("Q4_0", "4-bit"), "no quantisation '4-bit' here"),
        (MINIMAL + 'engines = ["onnx"]', "no quantisation 'Q4_0' here; choose float32, int4"),
        (MINIMAL + 'engines = ["llama_cpp", "onnx"]', "onnx has none of these quantisations"),
        (MINIMAL + 'engines = ["lama_cpp"]', "no engine 'lama_cpp' here; choose llama_cpp"),
        (MINIMAL + 'measure = ["beauty"]', "no quantity 'beauty' here; choose size, perplexity"),
        (MINIMAL + 'texts = ["poems"]', "no text 'poems'"),
        (MINIMAL + 'texts = "prose"', "texts must be a list of one name or more"),
        (MINIMAL + "texts = []", "texts must be a list of one name or more"),
        (MINIMAL + "texts = [1]", "texts must be a list of one name or more"),
        (MINIMAL + "chunks = 0", "chunks is 0; it must be a whole number from 1 on"),
        (MINIMAL + "chunks = true", "chunks is True; it must be a whole number"),
        (MINIMAL + "chunks = 1.5", "chunks is 1.5; it must be a whole number"),
        ("models = [", "plan.toml is not TOML in UTF-8"),
    ],
)
def test_what_is_no_plan_is_one_sentence(plan, text, sentence):
    with pytest.raises(UsageError) as problem:
        plan(text)
    assert sentence in str(problem.value)
    assert "plan.toml" in str(problem.value) and "\n" not in str(problem.value)


def test_a_plan_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml is not there"):
        read_plan(tmp_path / "none.toml")
