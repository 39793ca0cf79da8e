"""Poses, body models, skeletons, and pictures of them. Imports nothing of ours but `llmpose.errors`."""
