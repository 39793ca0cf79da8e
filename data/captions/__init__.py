"""Words for poses: posecodes, selection and aggregation, captions, comparisons, refinement by a language model.

    joints = text_joints(facing_viewer(rotmat))          neutral body, no heading
    describe(joints, style="brief")                      [["The person is standing on the left leg with ..."], ...]
    compare(joints_a, joints_b, turn_deg=turn)           [["Turn to the left by a quarter. Raise ..."], ...]

Order of reading: points, codes, posecodes (what is measured), aggregate, realise, describe (full captions), paircodes,
compare (instructions), stance, limb_states, brief, brief_change (short texts), refine (by a language model).
"""

from data.captions.compare import compare, turn_deg_between
from data.captions.describe import describe
from data.captions.mirror import mirror_text
from data.captions.normalize import facing_viewer, text_joints, turned_with
from data.captions.posecodes import Posecodes, posecodes

__all__ = [
    "Posecodes",
    "compare",
    "describe",
    "facing_viewer",
    "mirror_text",
    "posecodes",
    "text_joints",
    "turn_deg_between",
    "turned_with",
]
