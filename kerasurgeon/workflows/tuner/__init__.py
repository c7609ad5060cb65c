"""Search for a compressed transfer model with keras-tuner: which part of a backbone to cut out, and the head.

    import keras_tuner
    from kerasurgeon.workflows.tuner import AutoCompress, best_model, trials

    hypermodel = AutoCompress("MobileNetV2", classes=5, input_shape=(224, 224, 3))
    tuner = keras_tuner.Hyperband(hypermodel, objective=hypermodel.objective, max_epochs=20)
    tuner.search(images, labels, validation_data=(others, their_labels))
    print(trials(tuner))
    best_model(tuner).save("small.keras")

Needs keras-tuner: ``pip install 'kerasurgeon[tuner]'``. See docs/auto_compress.md.
"""

from kerasurgeon.workflows.tuner.cuts import Cuts
from kerasurgeon.workflows.tuner.hypermodel import AutoCompress, SearchError
from kerasurgeon.workflows.tuner.score import CompressedAccuracy, compression_score
from kerasurgeon.workflows.tuner.trials import TrialRow, Trials, best_model, trials

__all__ = [
    "AutoCompress",
    "CompressedAccuracy",
    "Cuts",
    "SearchError",
    "TrialRow",
    "Trials",
    "best_model",
    "compression_score",
    "trials",
]
