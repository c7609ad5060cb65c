"""``python -m kerasurgeon``: the command line."""

import os
import sys

if __name__ == "__main__":
    # Python has put the current folder first. It is no place to import from; so this comes before any other import.
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

    from kerasurgeon.cli import main

    main()
