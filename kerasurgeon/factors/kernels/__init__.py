"""The kernels of factorisation: numpy alone, no Keras."""
