"""What the packages `chaos`, `checkers` and `nemeses` share, none of which may know of all the others."""
