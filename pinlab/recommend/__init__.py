"""Query in, Answer out, for any variant."""
