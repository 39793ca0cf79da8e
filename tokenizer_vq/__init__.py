"""A 3D pose ⇄ a short row of discrete tokens (VQ-VAE, UniPose §3.1).

Knows rotations; knows nothing of language or of bodies (a body is passed in as a function). Imports nothing of ours.
Start at model.py; config.py holds every number.
"""

from tokenizer_vq.config import BODY_PARTS, PoseTokenizerConfig
from tokenizer_vq.model import PoseEncoder, PoseTokenizer, PoseTokenizerOutput

__all__ = ["BODY_PARTS", "PoseEncoder", "PoseTokenizer", "PoseTokenizerConfig", "PoseTokenizerOutput"]
