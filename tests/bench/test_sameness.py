import json

from bench.sameness import POST_QUESTIONS, shape


def test_the_shape_of_an_answer_keeps_names_types_and_lengths_only():
    assert shape({"id": "a1", "age": 3, "tags": ["x", "y"]}) == {"id": "str", "age": "int", "tags": ["str", "str"]}


def test_answers_with_other_fields_have_another_shape():
    assert shape({"id": "a1"}) != shape({"id": "a1", "more": None})


def test_no_question_is_asked_twice():
    assert len({question.body for question in POST_QUESTIONS}) == len(POST_QUESTIONS)


def test_the_right_submission_differs_from_the_wrong_ones_in_one_field_each():
    right = json.loads(POST_QUESTIONS[0].body or b"")
    for question in POST_QUESTIONS[1:-1]:
        other = json.loads(question.body or b"")
        changed = {name for name in right.keys() | other.keys() if right.get(name) != other.get(name)}
        assert len(changed) == 1, question.meaning
