"""Blocks of a network: where they are, what can stand in their place, how little they matter."""
