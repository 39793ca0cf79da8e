"""Metrics: pure functions of plain arrays, and objects with update / merge / compute around them. Imports nothing of
ours.
"""
