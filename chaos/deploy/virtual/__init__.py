"""Real servers in virtual time: see `chaos.deploy.virtual.deployment`."""
