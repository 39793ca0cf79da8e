"""UniPose Tab. 7, its last column: how long one pose takes, all tokens at once or one after the other.

The same weights, the same prompts, the same loop: only the processor says whether a pose is asked for by queries
(mixed attention) or word by word (causal). The time of both is the work done, not what is said, so weights trained
for the one time the other rightly.
"""

import time
from collections.abc import Callable
from functools import partial

import torch

from eval import papers
from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.tables import Column, Headline, Row, Table
from llmpose.talk.processing import LlmPoseProcessor

PROMPTS, WARM_UP = 24, 3
MIXED, CAUSAL = "mixed attention: all tokens in one step", "causal attention: token by token"
_COLUMNS = [
    Column("latency_s", "seconds a pose", "down", digits=4),
    Column("speedup_mixed_vs_causal", "times faster", "up"),
]


def causal_twin(processor: LlmPoseProcessor) -> LlmPoseProcessor:
    """The same processor, asking for a pose one token after the other."""
    return LlmPoseProcessor(
        processor.tokenizer,
        num_pose_tokens=processor.num_pose_tokens,
        num_image_tokens=processor.num_image_tokens,
        vision=processor.vision,
        pose_tokenizer=processor.pose_tokenizer,
        pose_attention="causal",
        context_length=processor.context_length,
    )


def seconds_of(answer: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    answer()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def own_latency(bench: Bench) -> float:
    """Median seconds of one pose in the way that the model was trained for."""
    from llmpose.talk.decoding import Decoding
    from llmpose.talk.generation import generate

    test = TaskSet.load("text_to_pose", bench, "test", limit=PROMPTS)
    settings = Decoding(grammar="pose", max_poses=1, batch_size=1, pose_ahead=True)
    prompts = [test.question(i) for i in range(len(test))]
    one = [partial(generate, bench.model, bench.processor, [prompt], settings) for prompt in prompts]
    seconds = [seconds_of(answer, bench.torch_device) for answer in [*one[:WARM_UP], *one]]
    return float(torch.tensor(seconds[WARM_UP:]).median())


class PoseDecoding(Benchmark):
    name = "pose_decoding"
    title = "Time to produce one pose (UniPose Tab. 7)"
    needs = describe_need("text_to_pose")

    def measure(self, bench: Bench) -> Result | None:
        from llmpose.talk.decoding import Decoding
        from llmpose.talk.generation import generate

        if not bench.is_main:
            return None
        test = TaskSet.load("text_to_pose", bench, "test", limit=PROMPTS)
        prompts = [test.question(i) for i in range(len(test))]
        settings = Decoding(grammar="pose", max_poses=1, batch_size=1, pose_ahead=True)
        causal = causal_twin(bench.processor)
        # Side by side, prompt by prompt, so that a busy machine slows both.
        seconds: dict[str, list[float]] = {"mixed": [], "causal": []}
        processors = {"mixed": bench.processor, "causal": causal}
        for prompt in [*prompts[:WARM_UP], *prompts]:
            for name, processor in processors.items():
                one = partial(generate, bench.model, processor, [prompt], settings)
                seconds[name].append(seconds_of(one, bench.torch_device))
        medians = {name: float(torch.tensor(times[WARM_UP:]).median()) for name, times in seconds.items()}
        return Result(self._table(bench, medians, len(prompts), test.data_name))

    def _table(self, bench: Bench, seconds: dict[str, float], count: int, data: str) -> Table:
        speedup = seconds["causal"] / seconds["mixed"]
        tokens = bench.processor.num_pose_tokens
        rows = [
            Row(MIXED, "ours", {"latency_s": seconds["mixed"], "speedup_mixed_vs_causal": speedup}),
            Row(CAUSAL, "baseline", {"latency_s": seconds["causal"], "speedup_mixed_vs_causal": 1.0}),
            *(Row(r.method, "paper", {"latency_s": r.values["latency_s"]}, note="80 tokens") for r in papers.ATTENTION),
        ]
        return Table(
            self.name,
            self.title,
            _COLUMNS,
            rows,
            protocol=f"text to pose, the whole answer from the prompt on, {tokens} pose tokens, batch 1, with a cache "
            f"in both, the same weights; median of {count} prompts in turn on {bench.torch_device.type}",
            n=count,
            data=data,
            paper_data="PoseScript, a 7B model on a GPU",
            headlines=[Headline(self.name, "speedup_mixed_vs_causal", CAUSAL)],
        )
