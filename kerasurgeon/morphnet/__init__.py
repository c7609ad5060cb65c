"""Widths learned in training: a regulariser that prices channels, what it leaves alive, and growing back to a budget."""
