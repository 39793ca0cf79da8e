"""A 3D pose ⇄ a short row of discrete tokens (VQ-VAE). Knows rotations; knows nothing of language. Imports nothing of ours."""
