"""What benchmarks are made of, where it is more than a script."""

import sys

from tests.sources import ROOT

sys.path.append(str(ROOT / "benchmarks"))
