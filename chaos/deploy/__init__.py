"""Where nodes live: each deployment implements the capabilities of `nemeses.system` that it really has."""
