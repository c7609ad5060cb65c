"""Write a pass of your own, try it dry, run it, and keep the recipe.

uv run --all-extras python examples/own_pass.py
"""

from dataclasses import dataclass
from typing import ClassVar

import keras

import kerasurgeon as ks
from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    Graph,
    Match,
    Pattern,
    Preserves,
    RewritePass,
    Skip,
    anything,
    call,
    layers,
    substitute,
)


@dataclass(frozen=True)
class UseAveragePooling(RewritePass):
    """Replace max pooling by average pooling, which int8 kernels without a compare like better.

    Args:
        smallest: Windows of fewer pixels are left alone.
    """

    preserves: ClassVar[Preserves] = APPROXIMATE
    smallest: int = 4

    def pattern(self) -> Pattern:
        """A max pooling."""
        return layers.MaxPooling2D(anything("x")).bind("pool")

    def check(self, match: Match, graph: Graph) -> None:
        """Leave small windows alone."""
        width, height = graph.layer_of(match.node("pool")).config["pool_size"]
        if width * height < self.smallest:
            raise Skip(f"its window has {width * height} pixels, fewer than {self.smallest}")

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        """Put an average pooling of the same form in its place."""
        old = match.node("pool")
        config = graph.layer_of(old).config
        form = {key: config[key] for key in ("pool_size", "strides", "padding", "data_format")}
        new = keras.layers.AveragePooling2D(**form, name=f"{graph.layer_of(old).name}_average")
        substitute(graph, old, call(graph, new, match.value("x"), like=old))
        return "averages instead"


model = keras.applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=10)
print(ks.explain(UseAveragePooling(smallest=9), model))
result = ks.Pipeline([UseAveragePooling()]).run(model)
print(result.report)
