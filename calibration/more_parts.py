"""Says when more pictures of good parts would help, and how many."""

from __future__ import annotations

# From docs/recipe.md, "Few parts": AUROC rises with every doubling, and 80 parts are well below what all parts reach.
SOME, MANY = 80, 200


def more_parts(count: int) -> str | None:
    """Returns a sentence on what more pictures of good parts would bring; None where there are enough.

    Args:
        count: good parts to learn from, held-out ones included.
    """
    if count >= MANY:
        return None
    if count < SOME:
        return (
            f"{count} good parts are few: the threshold is rough, and every doubling tells defects better apart; "
            f"give {SOME} at the least, better {MANY}"
        )
    return f"{count} good parts are enough to start with; about {MANY} would tell defects better apart"
