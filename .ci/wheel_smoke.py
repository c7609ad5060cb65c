"""Run by CI with the built wheel and without its extras: every module imports, and a pass runs.

Asserts that the installed files are used, not the source tree, and that what needs an extra says so.
"""

import importlib
import importlib.resources
import os
import pathlib
import pkgutil
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

import kerasurgeon
import kerasurgeon.passes

assert "site-packages" in kerasurgeon.__file__, kerasurgeon.__file__
names = [info.name for info in pkgutil.walk_packages(kerasurgeon.__path__, "kerasurgeon.")]
for name in names:
    try:
        importlib.import_module(name)
    except kerasurgeon.MissingExtraError as error:  # a search is a class of keras-tuner's
        if not name.startswith("kerasurgeon.workflows.tuner") or "kerasurgeon[tuner]" not in str(error):
            raise
assert len(names) > 40, names
assert "kerasurgeon.passes.fold_batch_norm" in names

inputs = keras.Input((8, 8, 3), name="image")
x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
small = kerasurgeon.apply_passes(keras.Model(inputs, x), [kerasurgeon.passes.FoldBatchNorm()])
assert [layer.name for layer in small.layers] == ["image", "bn"], [layer.name for layer in small.layers]
kerasurgeon.Pipeline([kerasurgeon.passes.FoldBatchNorm()]).run(small).report.save("report.html")
page = pathlib.Path("report.html").read_text(encoding="utf-8")
assert "elk" in page, "the wheel must hold the script of the report's page"
assert importlib.resources.files("kerasurgeon.report").joinpath("page.NOTICE.txt").is_file()

said = ""
try:
    kerasurgeon.export(small, "model.onnx")
except kerasurgeon.MissingExtraError as error:
    said = str(error)
assert "kerasurgeon[onnx]" in said, said or "exporting to ONNX without its packages must say which extra brings them"

sys.stdout.write(f"{len(names)} modules import; passes run; missing extras are named\n")
