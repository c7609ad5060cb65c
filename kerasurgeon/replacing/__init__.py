"""Layers replaced by others of another kind: sites, selection, putting in."""
