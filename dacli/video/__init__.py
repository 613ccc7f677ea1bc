"""Clips: probe, decode, stabilise, encode, mux."""
