"""Workflows built on the library: the shunt procedure, the tuner, the demo, networks and data sets to start from."""
