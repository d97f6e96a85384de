from typing import Annotated

import pytest
from pydantic import ValidationError

from stackd.core.spec.fields import Flag, Labels, Section, choice, whole


class Sample(Section):
    count: Annotated[int, whole(1, 5)] = 1
    on: Flag | None = None
    word: Annotated[str, choice("a", planned=("b",), foreign=("c",))] | None = None
    labels: Labels | None = None


def fault(**keys: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(keys)
    return str(caught.value.errors()[0]["msg"])


def test_texts_become_values() -> None:
    found = Sample.model_validate({"count": "5", "on": "no", "word": "a", "x-mine": {"any": "1"}})
    assert (found.count, found.on, found.word) == (5, False, "a")


def test_words_that_are_not_honoured_say_why() -> None:
    assert fault(word="b") == "'b' is not supported yet: use a"
    assert fault(word="c") == "'c' is not supported by stackd: use a"
    assert fault(word="d") == "'d' is unknown: use a"


def test_shapes_and_bounds() -> None:
    assert fault(count="6") == "6 is out of range: 1 to 5"
    assert fault(count=["1"]) == "must be a single value"
    assert fault(count=None) == "must have a value"
    assert fault(labels=["=x"]) == "'=x' has no name before `=`"


def test_lists_of_pairs_are_mappings() -> None:
    found = Sample.model_validate({"labels": ["a=1", "b", "c=x=y"]})
    assert found.labels == {"a": "1", "b": None, "c": "x=y"}
