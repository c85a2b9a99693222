"""The code in docs/add-a-task.md is that of the files that it names."""

import re

from tests.conftest import REPO

PAGE = (REPO / "docs/add-a-task.md").read_text()


def test_code_is_that_of_the_file_it_is_from():
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```python")
    assert [path for path, code in blocks if code not in (REPO / path).read_text()] == []


def test_the_files_that_it_names_exist():
    named = re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", PAGE)
    assert named
    assert [path for path in named if not (REPO / path).exists()] == []
