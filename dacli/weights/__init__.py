"""Published checkpoints: the manifest weights.toml, copies on this machine, downloads."""
