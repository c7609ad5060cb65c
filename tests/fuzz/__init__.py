"""A standing hunt: random models and random commands, held against oracles that share no code with the library."""
