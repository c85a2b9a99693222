"""`python -m leyden VERB`, and `python src/leyden VERB`, which runs the source code beside this file.

dvc.yaml uses the second form: a queued experiment runs in a copy of the repository, where an editable install would
still import the original's code.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    # Lightning launches further processes with `python -m` and the name in __spec__, which is "__main__" for a folder.
    __spec__ = None

from leyden.cli import main

if __name__ == "__main__":  # the worker processes of `leyden prepare` import this file again
    sys.exit(main())
