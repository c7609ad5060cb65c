"""What is trusted: which names in files and options become imports. No other room turns text into an import.

* ``import_object`` turns ``"module:name"`` into an object, if it may; ``import_path`` is its inverse.
* ``allow_imports`` allows more, for a while; ``nothing_imported`` allows nothing, for checks.

``docs/security.md`` says what is trusted and what is not.
"""

from kerasurgeon.trust.allowed import allow_imports, as_names, is_name
from kerasurgeon.trust.names import (
    check_import,
    import_object,
    import_path,
    is_own,
    names_in,
    nothing_imported,
)

__all__ = [
    "allow_imports",
    "as_names",
    "check_import",
    "import_object",
    "import_path",
    "is_name",
    "is_own",
    "names_in",
    "nothing_imported",
]
