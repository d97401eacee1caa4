"""Where to compute."""

from __future__ import annotations

import torch

from etude.adapters.errors import UserError


def find_device(name: str | None) -> torch.device:
    """The device called ``name`` (``cpu``, ``cuda:1``); a GPU, if there is one, when omitted.

    Raises :class:`UserError` for a device that this machine lacks.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # depends on how torch was built
        reason = str(error).splitlines()[0]
        raise UserError(f"there is no device '{name}': {reason:.100}", where="device", fix="use cpu, or leave it out") from None
    return device
