"""Ask a network what it costs and what blocks it is made of.

uv run --all-extras python examples/inspect_model.py [NAME]
"""

import sys

import keras

import kerasurgeon as ks

name = sys.argv[1] if len(sys.argv) > 1 else "MobileNetV3Small"
model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3))
graph = ks.lift(model)

cost = ks.cost(graph)
print(cost)
heaviest = sorted(cost.rows, key=lambda row: row.macs or 0, reverse=True)[:5]
print("most MACs:", ", ".join(row.name for row in heaviest))

for region in ks.regions(graph):
    print(region)
