"""The suite notices when a key function breaks; `make mutants` tries all ten."""

import pytest
from mutants import MUTATIONS, Mutation, copy, is_noticed, run_tests

FAST = [mutation for mutation in MUTATIONS if mutation.fast]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return copy(tmp_path_factory.mktemp("copy"))


def test_there_are_ten_and_each_breaks_one_place_of_the_code(root):
    assert len({mutation.name for mutation in MUTATIONS}) == 10
    for mutation in MUTATIONS:
        assert (root / mutation.file).read_text("utf-8").count(mutation.old) == 1, mutation.name


@pytest.mark.slow
def test_the_unbroken_copy_passes(root):
    code, output = run_tests(root, [test for mutation in FAST for test in mutation.tests])
    assert code == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("mutation", FAST, ids=lambda mutation: mutation.name)
def test_it_is_noticed_that(root, mutation):
    assert is_noticed(root, mutation)


@pytest.mark.slow
def test_a_change_that_breaks_nothing_is_not_noticed(root):
    harmless = Mutation("nothing", "slmlab/gguf.py", '"""What is', '"""Here is', FAST[0].tests)
    assert not is_noticed(root, harmless)


def test_a_mutation_that_no_longer_fits_the_code_says_so(root):
    stale = Mutation("stale", "slmlab/gguf.py", "no such code", "", ())
    with pytest.raises(ValueError, match="holds 0 x 'no such code'"):
        is_noticed(root, stale)
