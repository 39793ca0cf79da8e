"""Metric objects with update / compute, merged over processes."""
