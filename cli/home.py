"""``~`` in what is given on the command line: the shell replaces it in ``--out ~/x``, but not in ``--out=~/x``."""

from __future__ import annotations

import os
import re


def expand_home(argument: str) -> str:
    """``argument`` with ``~`` replaced where it begins with it or is an option whose value does.

    ``data.root=~/x`` stays, since a recipe keeps what is written.
    """
    found = re.fullmatch(r"(-\w+|--[\w-]+=|)(~.*)", argument, re.DOTALL)
    return found[1] + os.path.expanduser(found[2]) if found else argument
