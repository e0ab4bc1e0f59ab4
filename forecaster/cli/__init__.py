"""The `forecaster` command: the one place that knows library, training and service."""
