"""Words for people: what is wrong with a line, before Hydra composes it and after, why the hub gave nothing, and --help."""
