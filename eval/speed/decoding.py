"""How much faster a pose comes out in one step than token by token (UniPose Tab. 7: 2.5 s to 0.2 s, 12.5 times).

    python -m eval.speed.decoding                         a small model on the CPU, 80 tokens, batch 1 and 32
    python -m eval.speed.decoding --size 7b --device cuda

The same weights, prompts and loop; only the processor says how a pose is asked for. The weights are random: the time is
that of the work, not of what is said.
"""

from functools import partial
from typing import Any

from eval.speed.common import SENTENCES, arguments, random_model, report, seconds
from llmpose.talk.conversation import Conversation
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate
from llmpose.talk.processing import LlmPoseProcessor


def measure(
    size: str,
    device: str,
    dtype: str,
    *,
    num_pose_tokens: int = 80,
    batches: tuple[int, ...] = (1, 32),
    repeats: int = 3,
) -> list[dict[str, Any]]:
    """A row for each batch size."""
    model, processor = random_model(size, num_pose_tokens=num_pose_tokens, device=device, dtype=dtype)
    twin = LlmPoseProcessor(
        processor.tokenizer,
        num_pose_tokens=num_pose_tokens,
        pose_attention="causal",
        context_length=processor.context_length,
    )
    rows = []
    for batch in batches:
        asked = [Conversation().user(SENTENCES[i % len(SENTENCES)]) for i in range(batch)]
        settings = Decoding(grammar="pose", max_poses=1, batch_size=batch, pose_ahead=True)
        times = {
            name: seconds(partial(generate, model, own, asked, settings), device, repeats=repeats)
            for name, own in (("mixed", processor), ("causal", twin))
        }
        rows.append(
            {
                "decoder": size,
                "device": device,
                "pose tokens": num_pose_tokens,
                "batch": batch,
                "mixed, ms": 1000 * times["mixed"],
                "causal, ms": 1000 * times["causal"],
                "times faster": times["causal"] / times["mixed"],
            }
        )
    return rows


def main() -> None:
    """Measure and print."""
    words = arguments(__doc__ or "", num_pose_tokens=80, repeats=3).parse_args()
    rows = measure(words.size, words.device, words.dtype, num_pose_tokens=words.num_pose_tokens, repeats=words.repeats)
    report("One pose from a question: in one step, and token by token", rows, words.out)


if __name__ == "__main__":
    main()
