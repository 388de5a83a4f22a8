"""What good parts look like, measured on their pictures: a part of a bundle's manifest."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from engines.manifest_part import Part

Quantity = Literal["brightness", "contrast", "sharpness", "red", "blue", "x", "y", "rotation"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

GOOD_PICTURE = "good.png"
TEMPLATE = "good.template.png"


class Trait(Part):
    """One quantity of good parts' pictures.

    Attributes:
        mean: its mean over good parts.
        spread: its standard deviation over good parts; those that stand out count less.
    """

    mean: float
    spread: float = Field(gt=0)


class Looks(Part):
    """What good parts look like at the network's input, before anything is done about their light.

    Brightness, contrast, sharpness and colour are logarithms, so that a difference is a factor. A quantity in which
    good parts differ too much to tell anything is missing, such as the position of parts that lie anyhow.

    Attributes:
        traits: by name. `brightness`: mean grey. `contrast`: standard deviation of grey, in proportion to its mean.
            `sharpness`: variance of the Laplacian, in proportion to that of grey. `red` and `blue`: mean of the
            channel, in proportion to green. `x` and `y`: shift against the mean of good parts, to the right and down,
            in widths and heights. `rotation`: against the same, in degrees clockwise.
        samples: number of parts.
    """

    traits: dict[Quantity, Trait]
    samples: int = Field(ge=2)
