"""The embedding table, item vectors, search and the two maps."""
