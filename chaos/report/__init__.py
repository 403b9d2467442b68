"""What people look at: the report of a run, its story in words, the summary and the live display in a terminal."""
