"""The deployment `docker`: each node a container on a network of the run's own; see `deployment`."""
