"""The processes that a launcher started: all of them train together, or none does."""

from __future__ import annotations

import os

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from etude.adapters.errors import UserError


def join_processes() -> PartialState:
    """What accelerate knows of all processes; made here, before anything of accelerate makes it for another device.

    Raises :class:`UserError` where the processes would not find each other: each would train by itself, in the same folder.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != started:
        fix = "set ACCELERATE_USE_CPU=true, or start one"
        raise UserError(f"{started} processes were started, but there is no GPU", where="accelerate launch", fix=fix)
    return state
