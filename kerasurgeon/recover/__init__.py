"""Recovering what surgery cost."""
