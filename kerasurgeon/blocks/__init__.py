"""Blocks of a network: where they are, what can stand in for them, and plans of what is replaced."""
