"""A talk of three turns: estimate a pose, change it, describe the result.

Each turn builds on the model's own last answer. The first is pose estimation; the second shows whether an estimated
pose can be edited like a given one; the third whether the words fit the pose that the model itself just made. The
papers' recipes train single turns; a recipe with `talk_…` tasks trains the first and the second together, never all
three. No template of training has these wordings (a test).
"""

from collections.abc import Callable

from torch import Tensor

from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.features import pose_features, text_features
from eval.benchmarks.poses import error_columns, said_poses
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.metrics.body import PROTOCOLS, BodyError
from eval.metrics.retrieval import r_precision_unipose
from eval.predict import Prediction, Question
from eval.tables import Row, RowKind, Table, percent
from llmpose.body.pose import Pose
from llmpose.talk.conversation import Conversation, ImagePart, PosePart

LIMIT = 150
ESTIMATE, EDIT, DESCRIBE = (
    "Estimate the pose of the person in the picture.",
    "Now change that pose. ",
    "Describe this pose in words.",
)
_COLUMNS = [
    *error_columns("smpl22"),
    percent("r_precision_top3", "R@3"),
]


class Talk(Benchmark):
    name = "talk"
    title = "Three turns: estimate, edit, describe"
    needs = describe_need("talk_edit")

    def measure(self, bench: Bench) -> Result | None:
        pairs = TaskSet.load("talk_edit", bench, "test", limit=min(LIMIT, bench.limit or LIMIT))
        texts = dict(zip(pairs.ids, pairs.first_texts(), strict=True))
        place = {record_id: k for k, record_id in enumerate(pairs.ids)}

        def opening(record_id: str) -> Conversation:
            return Conversation().user(ImagePart(pairs.images(place[record_id])[0]), " " + ESTIMATE)

        def ask(turn: str, grammar: str, make: Callable[[str], Conversation]) -> dict[str, Prediction]:
            questions = [Question(i, lambda i=i: make(i)) for i in pairs.ids]
            return bench.answers(f"{self.name}_{turn}", questions, grammar=grammar, about={**pairs.about, "turn": turn})

        first = ask("estimate", "pose", opening)

        def editing(record_id: str) -> Conversation:
            return opening(record_id).assistant(_said(first[record_id])).user(EDIT + texts[record_id])

        second = ask("edit", "pose", editing)

        def describing(record_id: str) -> Conversation:
            return editing(record_id).assistant(_said(second[record_id])).user(DESCRIBE)

        third = ask("describe", "text", describing)
        if not bench.is_main:
            return None
        true_a, true_b = pairs.pair_poses()
        (estimated, _), (edited, _) = said_poses(first, pairs.ids), said_poses(second, pairs.ids)
        rows = [
            _error_row(bench, "turn 1: the estimate of A", "ours", pairs.ids, estimated, true_a),
            _error_row(bench, "turn 2: the estimate, edited, against B", "ours", pairs.ids, edited, true_b),
            _error_row(bench, "the estimate left as it was, against B", "baseline", pairs.ids, estimated, true_b),
            _error_row(bench, "the true pose A left as it was, against B", "baseline", pairs.ids, true_a, true_b),
        ]
        if bench.retrieval is not None:
            of_poses = pose_features(bench.retrieval, Pose(edited).without_yaw().rotmat)
            of_words = text_features(bench.retrieval, [third[i].text for i in pairs.ids])
            fit = r_precision_unipose(of_poses, of_words, seed=bench.seed)
            rows.append(Row("turn 3: words against the edited pose", "ours", fit))
            chance = {"r_precision_top3": min(1.0, 3 / min(32, len(pairs)))}
            rows.append(Row("chance", "baseline", chance))
        protocol = (
            f"{PROTOCOLS['smpl22'].about}; turns see the model's own earlier answers, in wordings that training lacks; "
            "whether it had later turns at all, the recipe says (tasks talk_…, strangers); B is turned to A's heading; "
            "R@3: the pose of the second answer finds the words of the third among 32, by this run's retrieval model"
        )
        return Result(Table(self.name, self.title, _COLUMNS, rows, protocol, len(pairs), pairs.data_name))


def _said(prediction: Prediction) -> PosePart:
    pose = prediction.first_pose()
    return PosePart(pose=Pose.rest() if pose is None else Pose(pose))


def _error_row(bench: Bench, method: str, kind: RowKind, ids: list[str], poses: Tensor, true: Tensor) -> Row:
    error = BodyError("smpl22")
    error.update(ids, bench.joints(poses), bench.joints(true))
    return Row(method, kind, error.compute())
