"""One of each that a package can add to cachequake; see `chaos.extend`."""
