"""Statistics, evaluation runs and reports."""
