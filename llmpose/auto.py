"""Configuration, model and processor together: importing one makes all three known to transformers' Auto classes."""

from llmpose.model.config import LlmPoseConfig
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.processing import LlmPoseProcessor

__all__ = ["LlmPoseConfig", "LlmPoseForConditionalGeneration", "LlmPoseProcessor"]
