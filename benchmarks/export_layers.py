"""What every kind of layer and every op becomes as a file: the second table of docs/export_support.md.

    uv run --all-extras python benchmarks/export_layers.py [WORD ...] [--all] [--write FILE]

Every kind with its options (tests/export/layer_options.py, moving_options.py), alone in a model with weights that are
not what they start as, is written to .onnx and .tflite from its graph, to the latter with a batch of 3 and a free one.
Both are run with the runtime's optimisation and without it, and compared with Keras. The errors are the largest
difference by the largest value of an output. Words choose cases by name: their rows replace those
in FILE. ``--all`` prints every case, not kinds alone. The exit status is 1 where a file is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

from export_tables import FORMATS, TITLE, tables  # before what it sets the environment of

HEAD = f"""{TITLE}

Made by `python benchmarks/export_layers.py --write docs/export_support.md`: every kind of layer and op with its
options, alone in a model, {{count}} models in all. *models*: how many sets of options, shapes and dtypes. *error*: the
largest relative difference of the files from Keras, with the runtime's optimisation and without it, with a fixed and
with a free batch.

| layer or op | models | ONNX: error | TFLite: error |
|---|---|---|---|
"""


def measured(words: list[str], *, every: bool) -> tuple[dict[str, list[dict[str, float | str]]], int]:
    """What became of the cases, by kind, and how many files are wrong."""
    from tests.export.both_files import errors
    from tests.export.layer_options import LAYERS
    from tests.export.moving_options import OPS

    found: dict[str, list[dict[str, float | str]]] = defaultdict(list)
    wrong = 0
    for case in (*LAYERS, *OPS):
        if words and not any(word in case.name for word in words):
            continue
        try:
            got = errors(case)
        except Exception as error:  # noqa: BLE001 - whatever a file does, the others are to be looked at
            got = dict.fromkeys(FORMATS, f"wrong: {type(error).__name__}: {' '.join(str(error).split())[:150]}")
        bad = {key: said for key, said in got.items() if isinstance(said, str) or not said <= case.rtol}
        wrong += any(not isinstance(said, str) or said.startswith("wrong") for said in bad.values())
        if every or bad:
            print(case.name, got, flush=True)
        title = case.name.rpartition(" of ")[0]
        found[title.partition("(")[0] if "(" in title else f"models: {title}"].append(got)
    return found, wrong


def rows(found: dict[str, list[dict[str, float | str]]]) -> list[str]:
    """The lines of the table."""
    lines = []
    for kind, several in sorted(found.items(), key=lambda item: (item[0].startswith("models"), item[0])):
        cells = [kind.removeprefix("models: "), str(len(several))]
        for file_format in FORMATS:
            numbers = [each[file_format] for each in several]
            known = [number for number in numbers if not isinstance(number, str)]
            said = f"{max(known):.1e}" if known else "-"
            reasons = sorted({text.partition(": ")[2] for text in numbers if isinstance(text, str)})
            cells.append(said + "".join(f"; not written: {text}" for text in reasons))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Measure, print, write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", help="of the cases' names")
    parser.add_argument("--all", action="store_true", help="print every case")
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    from kerasurgeon.atomic import write_text

    started = time.process_time()
    found, wrong = measured(options.words, every=options.all)
    lines = rows(found)
    print("\n".join(lines))
    count = sum(map(len, found.values()))
    print(f"{count} models, {wrong} wrong, {time.process_time() - started:.0f} s of processor time")
    if options.write:
        networks, before = tables(options.write)
        kept = [line for line in before.splitlines() if line.startswith("| ")][1:] if options.words else []
        known = {line.split(" | ")[0]: line for line in (*kept, *lines)}
        count = sum(int(line.split(" | ")[1]) for line in known.values())
        table = "\n".join(known.values())
        write_text(options.write, f"{networks}\n{HEAD.format(count=count)}{table}\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
