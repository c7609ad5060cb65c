"""Rewrites that leave outputs as they are: identities, constants, reshapes, paddings, linear layers in a row."""
