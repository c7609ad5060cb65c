"""What a file says of how it came to be: versions, and the recipes that its model came out of."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import keras

from kerasurgeon.rewrite.origins import recipes_of


def origin(model: keras.Model) -> dict[str, str]:
    """What is to stand in a file.

    Returns:
        ``kerasurgeon``, where it is installed, and ``keras``: versions. ``recipe``: a JSON list of recipes, in the
        order in which they were carried out, where the model came out of any.
    """
    found = {"keras": str(keras.__version__)}
    with suppress(PackageNotFoundError):
        found = {"kerasurgeon": version("kerasurgeon")} | found
    recipes = recipes_of(model)
    return found | ({"recipe": f"[{', '.join(recipes)}]"} if recipes else {})
