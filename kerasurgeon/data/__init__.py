"""Data sets: digits, CIFAR, generated shapes, TFRecord files; each as batches that Keras trains on."""
