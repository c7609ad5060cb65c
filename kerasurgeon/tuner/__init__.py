"""Search for a compressed transfer model with keras-tuner."""
