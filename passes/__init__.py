"""The built-in passes, imported as ``kerasurgeon.passes``."""

if __name__ != "kerasurgeon.passes":
    raise ImportError(f"import kerasurgeon.passes, not {__name__}")
