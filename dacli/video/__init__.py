"""Video clips: probe, decode, stabilize, encode, mux."""
