"""llmpose: multimodal language models that understand the human body and the keypoints of any object.

The names below are loaded when first used, so that `import llmpose` costs milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Pose": "llmpose.body.pose",
    "load_body_model": "llmpose.body.model",
    "Skeleton": "llmpose.body.skeleton",
    "load_skeleton": "llmpose.body.skeleton",
    "render_pose": "llmpose.body.render",
    "LlmPose": "llmpose.talk.chat",
    "LlmPoseConfig": "llmpose.auto",
    "LlmPoseForConditionalGeneration": "llmpose.auto",
    "LlmPoseProcessor": "llmpose.auto",
    "UserError": "llmpose.errors",
}

if TYPE_CHECKING:
    from llmpose.auto import LlmPoseConfig as LlmPoseConfig
    from llmpose.auto import LlmPoseForConditionalGeneration as LlmPoseForConditionalGeneration
    from llmpose.auto import LlmPoseProcessor as LlmPoseProcessor
    from llmpose.body.model import load_body_model as load_body_model
    from llmpose.body.pose import Pose as Pose
    from llmpose.body.render import render_pose as render_pose
    from llmpose.body.skeleton import Skeleton as Skeleton
    from llmpose.body.skeleton import load_skeleton as load_skeleton
    from llmpose.errors import UserError as UserError
    from llmpose.talk.chat import LlmPose as LlmPose


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmpose' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
