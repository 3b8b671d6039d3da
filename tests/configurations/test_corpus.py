"""The corpus as a whole: that no file of it is left out."""

from tests.configurations import corpus


def test_there_are_at_least_sixty_files():
    assert len(corpus.find_cases()) >= 60


def test_each_file_has_a_test_module_and_each_has_what_must_come_of_it():
    words = [word for family in corpus.FAMILIES.values() for word in family]
    assert len(words) == len(set(words))
    cases = corpus.find_cases()
    assert [case.name for case in cases if case.name.partition("-")[0] not in words] == []
    described = {case.source for case in cases}
    beside = {path for path in corpus.FILES.iterdir() if not path.name.endswith(corpus.EXPECTED)}
    assert beside == described


def test_each_expectation_says_what_it_is_for_and_what_comes_out():
    known = {"about", "given", "served", "refused", "disabled", "fails", "threat"}
    for case in corpus.find_cases():
        assert case.expected.keys() <= known, case.name
        assert case.expected.get("about"), case.name
        assert case.expected.keys() & {"served", "refused", "fails"}, case.name
