"""What a network is, the registry, one file for each network, and reading of checkpoints."""
