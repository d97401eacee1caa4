"""When memory runs out: the same work in smaller parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accelerate.utils.memory import find_executable_batch_size, should_reduce_batch_size

from etude.adapters.errors import UserError


def in_parts_that_fit(work: Callable[[int], None], sizes: Sequence[int]) -> None:
    """Call ``work(size)`` with the first of ``sizes`` (windows at a time, falling) for which memory suffices.

    ``work`` is called again with the next size after it ran out of memory, and goes on where it was. Raises
    :class:`UserError` when the last size is too large as well.
    """
    try:
        work(sizes[0])  # by itself: accelerate's helper begins with a garbage collection, which takes a while
        return
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
    smaller = iter((*sizes[1:], 0))

    def attempt(size: int) -> None:
        work(size)

    try:
        find_executable_batch_size(attempt, next(smaller), lambda: next(smaller))()
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        fix = "raise train.accumulate, set train.gradient_checkpointing=true, or adapt fewer blocks"
        raise UserError(f"memory does not suffice for {sizes[-1]} windows at a time", where="training", fix=fix) from None
