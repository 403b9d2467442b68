"""The deployment `endpoint`: servers that somebody else runs, reached by their URLs. Nothing is started or stopped."""
