"""kerasurgeon: model surgery for Keras 3."""
