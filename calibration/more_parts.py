"""Says when more pictures of good parts would help, and how many."""

from __future__ import annotations

# From docs/recipe.md, "Few parts": up to 80 every doubling finds clearly more defects, and 200 find more than 80.
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
            f"{count} good parts are few: the threshold is rough, and every doubling up to {SOME} finds clearly more "
            f"defects; give {SOME} at the least, better {MANY}"
        )
    return f"{count} good parts are enough to start with; about {MANY} would find more defects"
