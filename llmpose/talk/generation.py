"""Decoding: one loop over phases, for a batch of rows that do different things (design.md, decision 3).

    row            step 1     step 2                    step 3
    describe       A          man                       stands             text goes on, one word a step
    text to pose   <p>        whole pose, then the end  -                  queries and </p> in one look at the cache
    edit and tell  Sure       <p>                       whole pose, </p>   goes on with words

When a row has said <p>, its pose queries see the row's cache through a look that leaves nothing behind
(`DecodingCache.peek`), all of them at once, together with the </p> that says whether the answer ends here. Where it
goes on, the produced codes are read as words, so that what follows sees the pose itself, as in training
(llmpose/talk/row_writer.py). Other rows do not notice. Rows that have finished leave the batch, and the padding between
rows of different speed is closed up now and then.
"""

from collections.abc import Sequence
from random import Random, getrandbits
from typing import Any, cast

import torch

from llmpose.errors import UserError
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.beams import run_beams
from llmpose.talk.conversation import Conversation, PosePart
from llmpose.talk.decoding import Answer, Decoding, Listener
from llmpose.talk.grammar import GRAMMARS, Grammar
from llmpose.talk.loop import Loop
from llmpose.talk.patterns import Pattern
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.prompts import batches
from llmpose.talk.rows import Row, Teller, finished_answer, row_seed


@torch.no_grad()
def generate(
    model: LlmPoseForConditionalGeneration,
    processor: LlmPoseProcessor,
    conversations: Sequence[Conversation],
    settings: Decoding | None = None,
    *,
    grammars: Sequence[str | Pattern] | None = None,
    listener: Listener | None = None,
) -> list[Answer]:
    """One answer for each conversation; an answer that stands at its end is not looked at.

    `grammars` gives each conversation its own (see `Decoding.grammar`). `listener` hears every word and every pose as
    soon as it is certain. Conversations are sorted into batches of like lengths; answers come in the order given.
    """
    settings = settings or Decoding()
    if settings.num_beams > 1 and listener is not None:
        raise UserError("beams change their minds, so nobody can listen to them; use num_beams=1 with a listener")
    if settings.num_beams > 1 and processor.encoding.causal_poses:
        raise UserError("beams and a causal pose mode do not go together; use num_beams=1")
    was_training = model.training
    if was_training:  # walking through all modules takes as long as decoding a word
        model.eval()
    try:
        prompts = processor.encode_batch([one.question for one in conversations], train=False)
        wanted = [settings.grammar] * len(prompts) if grammars is None else list(grammars)
        base_seed = getrandbits(32) if settings.seed is None else settings.seed
        teller = Teller(processor, listener) if listener is not None else None
        answers: dict[int, Answer] = {}
        for numbers in batches(prompts, settings.batch_size):
            rows: list[Row] = []
            for number in numbers:
                grammar = _grammar(model, processor, wanted[number])
                if grammar.shortest() > settings.max_new_tokens:
                    raise UserError(
                        f"decoding: max_new_tokens is {settings.max_new_tokens}, the shortest answer that the grammar "
                        f"allows may take {grammar.shortest()}"
                    )
                chance = Random(row_seed(base_seed, prompts[number]))
                room, poses = settings.max_new_tokens, settings.max_poses
                rows.append(Row(number, grammar, grammar.start, room, poses, chance))
            loop = Loop(model, processor, settings, teller)
            loop.read_prompts(rows, [prompts[number] for number in numbers])
            for row in run_beams(loop) if settings.num_beams > 1 else loop.run():
                answers[row.number] = finished_answer(processor, row, settings.points)
        return _with_poses(processor, [answers[number] for number in range(len(prompts))])
    finally:
        if was_training:
            model.train()


def _grammar(model: LlmPoseForConditionalGeneration, processor: LlmPoseProcessor, wanted: str | Pattern) -> Grammar:
    """A grammar over the model's vocabulary, made once."""
    num_ids = int(cast(Any, model.config.text_config).vocab_size)
    if num_ids < processor.vocabulary.size:
        raise UserError(
            f"the model's head knows {num_ids} words, the processor {processor.vocabulary.size}; "
            "they are not from one checkpoint"
        )
    if isinstance(wanted, str) and wanted not in GRAMMARS:
        raise UserError(f"grammar {wanted!r} is not known; use {', '.join(GRAMMARS)}, or a pattern")
    pattern = GRAMMARS[wanted] if isinstance(wanted, str) else wanted
    return processor.grammar(pattern, num_ids, model.device)


def _with_poses(processor: LlmPoseProcessor, answers: list[Answer]) -> list[Answer]:
    """Codes to poses, those of all answers at once."""
    codes = [code for answer in answers for code in answer.codes]
    if not codes or not processor.has_pose_tokenizer:
        return answers
    vectors = [one for answer in answers for one in answer.code_vectors]
    if len(vectors) == len(codes):
        poses = iter(processor.refine_poses(torch.stack(vectors)))
    else:
        poses = iter(processor.decode_poses(torch.tensor(codes)))
    for answer in answers:
        answer.poses = [next(poses) for _ in answer.codes]
        own = iter(answer.poses)
        answer.parts = tuple(
            PosePart(pose=next(own), codes=part.codes) if isinstance(part, PosePart) else part for part in answer.parts
        )
    return answers
