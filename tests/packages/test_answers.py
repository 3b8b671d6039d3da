import pytest

from fluidmcp.config.filling.expand import ExpansionError
from fluidmcp.packages.answers import Answers
from fluidmcp.packages.formats.shapes import Input


def test_an_answer_that_is_not_accepted_names_its_input():
    inputs = [Input(id="size", is_number=True, maximum=3), Input(id="many", is_multiple=True, is_number=True)]
    answers = Answers(inputs, {"FMCP_INPUT_SIZE": "4", "FMCP_INPUT_MANY": "1\n2\nx"}, None)
    with pytest.raises(ExpansionError, match="needs the input size .*, which must be at most 3"):
        answers.get("size")
    with pytest.raises(ExpansionError, match="needs the input many .*, which must be a number"):
        answers.get_several("many")


def test_what_nobody_answers_and_need_not_be_is_no_argument():
    inputs = [Input(id="a", is_required=False, is_number=True), Input(id="b", is_multiple=True, is_required=False)]
    answers = Answers([*inputs, Input(id="c")], {"FMCP_INPUT_C": "x"}, None)
    assert answers.get_several("a") == answers.get_several("b") == []
    assert answers.get_several("c") is None


def test_a_default_may_name_folders():
    inputs = [
        Input(id="paths", is_multiple=True, default='["${userHome}/Desktop", "/srv"]'),
        Input(id="own", default="${__dirname}/data"),
    ]
    answers = Answers(inputs, {}, None, folders={"${userHome}": "/home/a", "${__dirname}": ""})
    assert answers.get_several("paths") == ["/home/a/Desktop", "/srv"]
    at_terminal = Answers(inputs, {}, lambda item: item.default or "", folders={"${userHome}": "/home/a"})
    assert at_terminal.get_several("paths") == ["/home/a/Desktop", "/srv"]
    with pytest.raises(ExpansionError, match="whose default is in"):
        answers.get("own")
