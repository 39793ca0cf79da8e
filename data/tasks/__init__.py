"""Tasks: from records to a question and an answer.

    TASKS["pose_to_text"].conversation(record, rng)          one record, poses with texts
    TASKS["pose_diff"].conversation((pair, a, b), rng)       a pair and its two records

The seven tasks of UniPose (§3.3, suppl. Tab. 1–2), and two that are only ever asked, never trained: ZERO_SHOT.
"""

from data.tasks.base import Item, Task
from data.tasks.pose_tasks import TASKS, ZERO_SHOT, task_named

__all__ = ["TASKS", "ZERO_SHOT", "Item", "Task", "task_named"]
