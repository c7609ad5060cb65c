"""How results are shown: numbers as text, tables, pictures.

Results are data: they stand in the rooms that make them. What is written here takes plain rows, or the plain data that
a result's ``to_dict`` gives, and knows no result. A result that prints as a table is ``Printed``.
"""

from kerasurgeon.report.numbers import (
    format_bytes,
    format_count,
    format_kept,
    format_partial,
    format_ratio,
    format_shape,
)
from kerasurgeon.report.tables import Printed, as_html, as_text, grid

__all__ = [
    "Printed",
    "as_html",
    "as_text",
    "format_bytes",
    "format_count",
    "format_kept",
    "format_partial",
    "format_ratio",
    "format_shape",
    "grid",
]
