"""Channels: which of them go together, and how they are cut."""
