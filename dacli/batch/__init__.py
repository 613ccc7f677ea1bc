"""Inputs, plan, journal, the one stage runner and the run over pictures."""
