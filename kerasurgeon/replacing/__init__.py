"""Replacing layers by what a user's function makes of each.

* ``Selection`` says which nodes are meant, ``replace_selected`` asks the function (``resolve`` finds it by its path)
  and puts what it returns; a ``ReplaceSite`` is what the function is told of the place.
* ``replacements`` holds ready-made functions and patterns.
"""

from kerasurgeon.replacing import replacements
from kerasurgeon.replacing.exchange import Replacement, replace_selected
from kerasurgeon.replacing.select import Selection, Where
from kerasurgeon.replacing.site import ReplaceSite, resolve

__all__ = ["ReplaceSite", "Replacement", "Selection", "Where", "replace_selected", "replacements", "resolve"]
