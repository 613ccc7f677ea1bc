"""Measurements of `dacli bench`, and its sheet."""
