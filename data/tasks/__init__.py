"""Tasks: from records to a question and an answer.

    TASKS["pose_to_text"].conversation(record, rng)          one record, poses with texts
    TASKS["pose_diff"].conversation((pair, a, b), rng)       a pair and its two records

The seven tasks of UniPose (§3.3, suppl. Tab. 1–2), and two that are only ever asked, never trained: ZERO_SHOT.
TALKS are second turns, which speak of the answer to one of the seven.
Questions about keypoints speak of one keypoint of a record, with other records as examples: KEYPOINT_TASKS.
"""

from data.tasks.base import Item, Task
from data.tasks.keypoint_tasks import KEYPOINT_TASKS, keypoint_task
from data.tasks.pose_tasks import TALKS, TASKS, ZERO_SHOT, task_named

__all__ = ["KEYPOINT_TASKS", "TALKS", "TASKS", "ZERO_SHOT", "Item", "Task", "keypoint_task", "task_named"]
