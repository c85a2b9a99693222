"""Which line of an exception's traceback is the user's own."""

import json

import pytest

from leyden.class_paths import import_path
from leyden.errors import INSTALLED, describe_error, own_line


def test_the_line_named_is_that_of_the_users_code_rather_than_of_what_it_calls():
    for call in (lambda: json.loads("x"), lambda: import_path("x")):
        with pytest.raises((ValueError, ImportError)) as caught:
            call()
        assert own_line(caught.value).startswith("test_errors.py, line ")
    assert own_line(caught.value, INSTALLED).startswith("class_paths.py, line ")


def test_an_exception_without_a_message_is_described_by_its_type():
    assert describe_error(AssertionError()) == "AssertionError"
