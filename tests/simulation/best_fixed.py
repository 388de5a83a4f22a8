"""What a line with a fixed batch size could do: it knows beforehand what a batch of each size usually takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence


def inspected_with(
    size: int, arrivals: Sequence[int], patience: int, usual: Callable[[int], int], drawn: Callable[[int], int]
) -> int:
    """Returns how many frames a line answers in time that puts up to `size` frames into a batch.

    Whenever its engine is idle it takes the newest frames that it can usually answer in time. It neither decodes nor
    hands over.

    Args:
        size: the most frames in a batch.
        arrivals: when frames come, ascending, nanoseconds.
        patience: how long after that an answer is of use, nanoseconds.
        usual: how long a batch of so many frames usually takes, nanoseconds.
        drawn: how long this one takes.
    """
    waiting: deque[int] = deque()
    free = inspected = place = 0
    while place < len(arrivals) or waiting:
        if not waiting:
            free = max(free, arrivals[place])
        while place < len(arrivals) and arrivals[place] <= free:
            waiting.append(arrivals[place])
            place += 1
        count = min(size, len(waiting))
        while count and waiting[-count] + patience < free + usual(count):
            count -= 1
        if count:
            free += drawn(count)
            inspected += sum(moment + patience >= free for moment in list(waiting)[-count:])
        # What is older than these will never be among the newest again.
        waiting.clear()
    return inspected


def best_fixed(
    arrivals: Sequence[int],
    patience: int,
    usual: Callable[[int], int],
    draws: Callable[[], Callable[[int], int]],
    max_batch: int,
) -> tuple[int, int]:
    """Returns how many frames the best fixed size inspects, and that size.

    `draws` begins anew to draw how long batches take: the best size is no lucky one.
    """
    return max((inspected_with(size, arrivals, patience, usual, draws()), size) for size in range(1, max_batch + 1))
