"""Training of networks as Depth Anything V2 was trained."""
