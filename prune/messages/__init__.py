"""What is wrong with a line, in our words: before Hydra composes it, and what Hydra, OmegaConf and YAML say of it."""
