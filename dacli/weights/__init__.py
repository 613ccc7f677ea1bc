"""weights.toml, the cache of checkpoints, and downloads."""
