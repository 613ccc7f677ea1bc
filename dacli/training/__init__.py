"""Training of networks by the recipe of Depth Anything V2."""
