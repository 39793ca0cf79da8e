"""Metrics, predictions, benchmarks, reports. Stands on llmpose and data; nothing imports it but the command line."""
