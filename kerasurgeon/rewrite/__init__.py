"""Passes and what they are made of: pipeline, recipes, reports, patterns, regions, surgery by hand."""
