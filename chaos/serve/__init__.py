"""The results browser: `cachequake serve` shows the runs of a directory in a web browser, and changes nothing."""
