"""`python -m leyden VERB`, and `python src/leyden VERB`, which runs the sources beside this file.

dvc.yaml uses the second form: a queued experiment is a copy of the tree, and an editable install would run the original's code there.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __spec__ = None  # Lightning starts more processes by `-m` and the name in it, which for a folder is "__main__"

from leyden.cli import main

if __name__ == "__main__":  # prepare's workers import this file again
    sys.exit(main())
