"""The language stages as people run them: chained, in full and with adapters, frozen where the plan says so."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from people import write_pairs, write_people

from data.examples import Examples
from llmpose.errors import UserError
from llmpose.model.adapters import is_adapter, load_model
from llmpose.model.batch import IGNORE
from llmpose.talk.conversation import Conversation
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import train_tokenizer
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig
from train.job import Draw
from train.language import LanguageRecipe, build, make_mixture
from train.language_model import components, model_folder
from train.recipe import load_recipe
from train.run import run
from train.stages import component_of

SIZES = [
    "kind=language",
    "model.new.hidden_size=32",
    "model.new.num_layers=2",
    "model.new.num_heads=4",
    "model.new.intermediate_size=48",
    "model.new.vocab_size=300",
    "lora.rank=4",
    "lora.alpha=8",
    "lora.dropout=0",
    "batch.size=8",
    "batch.micro=4",
    "packing.row_tokens=512",
    "optim.lr=3e-3",
    "log.progress=false",
    "checkpoints.every=null",
    "examples_per_epoch=32",
    "eval_examples=14",
]
WHOLE = [f"adapt.{name}=full" for name in ("language_model", "token_rows")]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    people = write_people(root / "people")
    pairs = write_pairs(root / "pairs", people)
    codec = PoseTokenizer(
        PoseTokenizerConfig(design="parts", num_pose_tokens=8, codebook_size=16, hidden_size=16, quantizer="fsq")
    )
    codec.save_pretrained(root / "codec")
    return {"people": people, "pairs": pairs, "codec": root / "codec", "vision": vision_folders(root)}


def vision_folders(root: Path) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModel, VitPoseBackbone, VitPoseBackboneConfig

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    clip = CLIPVisionConfig(**small, intermediate_size=24, image_size=16, patch_size=8)
    CLIPVisionModel(clip).save_pretrained(root / "vision" / "clip")
    pose = VitPoseBackboneConfig(**small, image_size=[24, 24], patch_size=[8, 8])
    VitPoseBackbone(pose).save_pretrained(root / "vision" / "pose")
    return root / "vision"


def words(stage: str, sets: dict[str, Path], run_dir: Path, *more: str) -> list[str]:
    data = [
        word
        for kind, split in (("train", "train"), ("eval", "val"))
        for name in ("people", "pairs")
        for word in (f"data.{kind}.{name}.records={sets[name]}", f"data.{kind}.{name}.split={split}")
    ]
    return [
        *SIZES,
        f"stage={stage}",
        f"name={stage}",
        f"run_dir={run_dir}",
        f"model.pose_tokenizer={sets['codec']}",
        *data,
        *more,
    ]


def eyes(sets: dict[str, Path]) -> list[str]:
    return [f"model.vision.{name}.folder={sets['vision'] / name}" for name in ("clip", "pose")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in load_model(model_folder(folder)).state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], model) -> set[str]:
    parts = components(model)
    return {component_of(n, parts) for n, value in after.items() if n in before and not torch.equal(value, before[n])}


def test_three_stages_in_full_each_from_the_last(sets: dict[str, Path], tmp_path: Path):
    runs = {name: tmp_path / name for name in ("align", "projector", "instruct")}
    first = run(load_recipe([], words("align", sets, runs["align"], *WHOLE, "max_steps=3")))
    assert {"loss", "accuracy", "loss_pose_to_text", "loss_pose_editing", "accuracy_text_to_pose"} <= set(first.metrics)
    assert not is_adapter(first.model)
    logged = [json.loads(line) for line in (runs["align"] / "metrics.jsonl").read_text().splitlines()]
    assert {"loss_pose_diff", "accuracy_pose_editing"} <= {name for line in logged for name in line}
    kept = tmp_path / "features"
    more = [*eyes(sets), f"start_from={runs['align']}", "max_steps=3", f"keep_features={kept}"]
    second = run(load_recipe([], words("projector", sets, runs["projector"], *more)))
    assert {"loss_image_to_text", "loss_image_diff", "loss_pose_estimation"} <= set(second.metrics)
    assert (kept / "about.json").is_file()
    model = load_model(second.model)
    assert changed(weights(first.model), weights(second.model), model) == set()  # only the new projector learned
    more = [*WHOLE, f"start_from={runs['projector']}", "max_steps=3", f"keep_features={kept}"]
    third = run(load_recipe([], words("instruct", sets, runs["instruct"], *more)))
    assert changed(weights(second.model), weights(third.model), model) == {
        "language_model", "token_rows", "pose_queries", "projector"
    }  # fmt: skip
    processor = LlmPoseProcessor.from_pretrained(third.model)
    assert processor.num_image_tokens == 4
    assert processor.has_pose_tokenizer


def test_the_log_says_which_kernels_run(sets: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="train"):
        run(load_recipe([], words("align", sets, tmp_path / "run", *WHOLE, *eyes(sets), "max_steps=1")))
    told = next(line for line in caplog.messages if line.startswith("kernels "))
    if not torch.cuda.is_available():
        assert told.startswith("kernels attn=auto: training rows segments, decoding sdpa, ")
        assert told.endswith(" sdpa; loss in chunks")


def test_stages_with_adapters_freeze_what_the_table_freezes(sets: dict[str, Path], tmp_path: Path):
    runs = {name: tmp_path / name for name in ("align", "projector", "instruct")}
    first = run(load_recipe([], words("align", sets, runs["align"], *eyes(sets), "max_steps=2")))
    assert is_adapter(first.model)
    assert json.loads((first.model / "llmpose_adapter.json").read_text())["base"] == str(runs["align"] / "base")
    second = run(
        load_recipe([], words("projector", sets, runs["projector"], f"start_from={runs['align']}", "max_steps=2"))
    )
    third = run(
        load_recipe([], words("instruct", sets, runs["instruct"], f"start_from={runs['projector']}", "max_steps=2"))
    )
    merged = [weights(result.model) for result in (first, second, third)]
    model = load_model(third.model)
    assert changed(weights(runs["align"] / "base"), merged[0], model) == {
        "language_model",
        "token_rows",
        "pose_queries",
    }
    assert changed(merged[0], merged[1], model) == {"projector"}
    assert changed(merged[1], merged[2], model) == {"language_model", "token_rows", "pose_queries", "projector"}
    assert not (runs["instruct"] / "base").exists()  # all adapters belong to the first base
    wrapped = load_model(third.model, merge=False)
    assert isinstance(wrapped, PeftModel)


def test_eyes_may_join_an_adapter_in_stage_3(sets: dict[str, Path], tmp_path: Path):
    """The way of the `small` recipes: stage 2 adapts a model without eyes."""
    blind = run(load_recipe([], words("align", sets, tmp_path / "align", "max_steps=2")))
    more = [*eyes(sets), "max_steps=2", f"start_from={tmp_path / 'align'}"]
    seeing = run(load_recipe([], words("projector", sets, tmp_path / "projector", *more)))
    more = ["max_steps=2", f"start_from={tmp_path / 'projector'}"]
    last = run(load_recipe([], words("instruct", sets, tmp_path / "instruct", *more)))
    before, joined, after = (load_model(model_folder(one.model)) for one in (blind, seeing, last))
    assert before.vision is None
    for model in (joined, after):
        assert [spec.name for spec in model.config.encoders()] == ["clip", "pose"]
    language = [name for name, _ in before.named_parameters()]
    state, later = before.state_dict(), joined.state_dict()
    assert all(torch.allclose(state[name], later[name], atol=1e-6) for name in language)  # only the projector learnt
    assert {"loss_image_to_text", "loss_pose_estimation"} <= set(seeing.metrics)
    assert "loss_pose_editing" in last.metrics


def test_a_stopped_language_stage_goes_on_to_the_very_same_weights(sets: dict[str, Path], tmp_path: Path):
    for name, stops in (("whole", [None]), ("halves", [2, None])):
        for stop in stops:
            more = [*eyes(sets), "max_steps=4", "checkpoints.every=2", *([f"stop_at={stop}"] if stop else [])]
            run(load_recipe([], words("instruct", sets, tmp_path / name, *more)))
    one, other = (weights(tmp_path / name) for name in ("whole", "halves"))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_frozen_base_in_bfloat16_learns_in_float32(sets: dict[str, Path], tmp_path: Path):
    more = [*eyes(sets), "model.dtype=bfloat16", "precision=bf16", "max_steps=3", "checkpoints.every=2"]
    job = build(load_recipe([], words("instruct", sets, tmp_path / "look", *more)))
    kinds = {(p.requires_grad, p.dtype) for p in job.model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    result = run(load_recipe([], words("instruct", sets, tmp_path / "run", *more)))
    assert result.metrics["loss"] < 7
    batch = job.collate(job.train_data.__getitems__(Draw(range(4), epoch=0, step=0, seed=0)))
    wrapped = load_model(result.model, merge=False, dtype=torch.bfloat16).eval()
    merged = load_model(result.model, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        one, other = (model(**batch).loss for model in (wrapped, merged))
    torch.testing.assert_close(one.float(), other.float(), rtol=0.02, atol=0.02)


def test_examples_are_the_same_in_every_run_and_different_in_every_epoch(sets: dict[str, Path], tmp_path: Path):
    recipe = load_recipe([], words("instruct", sets, tmp_path, *eyes(sets)))
    assert isinstance(recipe, LanguageRecipe)
    job = build(recipe)
    data = job.train_data
    assert isinstance(data, Examples)
    draws = [Draw([0, 5, 9], epoch=epoch, step=0, seed=0) for epoch in (0, 0, 1)]
    ids = [[example.token_ids.tolist() for example in data.__getitems__(draw)] for draw in draws]
    assert ids[0] == ids[1] != ids[2]
    again = Examples(make_mixture(recipe, recipe.data.train, size=32), data.processor)
    assert [example.token_ids.tolist() for example in again.__getitems__(draws[0])] == ids[0]


def test_codes_kept_from_an_earlier_epoch_are_those_of_the_tokenizer(sets: dict[str, Path], tmp_path: Path):
    recipe = load_recipe([], words("align", sets, tmp_path))
    assert isinstance(recipe, LanguageRecipe)
    data = build(recipe).train_data
    assert isinstance(data, Examples)
    draw = Draw(range(32), epoch=0, step=0, seed=0)
    remembered = [data.__getitems__(draw) for _ in range(2)][1]
    picks = [data.mixture.pick(0, index) for index in draw]
    fresh = [data.processor.encode(data.mixture.conversation(0, index)) for index, _ in enumerate(picks)]
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(remembered, fresh, strict=True))


def test_features_from_the_cache_train_like_pixels(sets: dict[str, Path], tmp_path: Path):
    losses = []
    for kept in ([], [f"keep_features={tmp_path / 'kept'}"]):
        job = build(load_recipe([], words("projector", sets, tmp_path / "run", *eyes(sets), *kept)))
        batch = job.collate(job.train_data.__getitems__(Draw(range(6), epoch=0, step=0, seed=0)))
        assert (batch.image_features is not None) == bool(kept)
        losses.append(job.model.eval()(**batch).loss)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-3)


SEVERAL_TEXTS = ["texts=2", "packing.branches=true"]


def test_every_text_of_a_pose_is_told_while_the_pose_is_read_once(sets: dict[str, Path], tmp_path: Path):
    job = build(load_recipe([], words("instruct", sets, tmp_path, *eyes(sets), *WHOLE, *SEVERAL_TEXTS)))
    data = job.train_data
    assert isinstance(data, Examples)
    picks = [data.mixture.pick(0, index) for index in range(32)]
    told = [data.encode([pick]) for pick in picks]
    for pick, examples in zip(picks, told, strict=True):
        task = data.mixture.parts[pick.part].task
        assert len(examples) == (2 if task.answer == "text" else 1)
        assert {example.task for example in examples} == {task.name}
        if len(examples) == 2:
            one, other = [example.token_ids[example.labels == IGNORE].tolist() for example in examples]
            assert one[: len(one) // 2] == other[: len(one) // 2]  # the question
            assert examples[0].labels[examples[0].labels != IGNORE].tolist() != (
                examples[1].labels[examples[1].labels != IGNORE].tolist()
            )
    separate = [example for examples in told for example in examples]
    together = job.collate(separate)
    job.collate.branches = False  # type: ignore[attr-defined]  # a Collator
    alone = job.collate(separate)
    assert int((together.sample >= 0).sum()) < 0.9 * int((alone.sample >= 0).sum())
    losses = [job.model.eval()(**batch).sums for batch in (together, alone)]
    assert int(losses[0].count) == int(losses[1].count)
    torch.testing.assert_close(losses[0].loss, losses[1].loss)
    torch.testing.assert_close(losses[0].task_loss, losses[1].task_loss)


def test_with_several_texts_each_task_keeps_its_share_of_the_answers(sets: dict[str, Path], tmp_path: Path):
    recipe = load_recipe([], words("align", sets, tmp_path))
    assert isinstance(recipe, LanguageRecipe)
    shares = [make_mixture(recipe, recipe.data.train, size=600, texts=texts) for texts in (1, 2)]
    counts = [dict(zip([part.task.name for part in m.parts], m.counts.tolist(), strict=True)) for m in shares]
    answers = {name: count * (2 if name in ("pose_to_text", "pose_diff") else 1) for name, count in counts[1].items()}
    for name, count in counts[0].items():
        assert answers[name] / sum(answers.values()) == pytest.approx(count / 600, abs=0.01)
    more = make_mixture(recipe, recipe.data.train, size=600, texts=5)
    assert more.counts.tolist() == shares[1].counts.tolist()  # no item has more than two


def test_several_texts_train_and_go_on_after_a_stop(sets: dict[str, Path], tmp_path: Path):
    for name, ends in (("whole", (4,)), ("halves", (2, 4))):
        for end in ends:
            more = [*WHOLE, *SEVERAL_TEXTS, "max_steps=4", f"stop_at={end}", "checkpoints.every=2"]
            run(load_recipe([], words("align", sets, tmp_path / name, *more)))
    one, other = (weights(tmp_path / name) for name in ("whole", "halves"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_several_texts_without_branches_are_refused(sets: dict[str, Path], tmp_path: Path):
    with pytest.raises(UserError, match=r"texts is 2, which only saves anything with packing\.branches: true"):
        load_recipe([], words("align", sets, tmp_path, "texts=2"))


TALKING = [
    "data.train.people.tasks={pose_estimation: 1.0, talk_describe: 1.0, talk_estimate: 1.0}",
    "data.train.pairs.tasks={talk_edit: 1.0, image_diff: 1.0}",
    "strangers=0.5",
]


def test_talks_and_strangers_train_from_kept_features_as_from_pixels(sets: dict[str, Path], tmp_path: Path):
    losses = []
    for kept in ([], [f"keep_features={tmp_path / 'kept'}"]):
        job = build(load_recipe([], words("projector", sets, tmp_path / "run", *eyes(sets), *kept, *TALKING)))
        batch = job.collate(job.train_data.__getitems__(Draw(range(24), epoch=0, step=0, seed=0)))
        assert (batch.image_features is not None) == bool(kept)
        assert (batch.task == batch.tasks.index("joined")).any()
        losses.append(job.model.eval()(**batch).loss)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-3)


def test_a_stopped_stage_with_talks_and_strangers_goes_on_to_the_very_same_weights(
    sets: dict[str, Path], tmp_path: Path
):
    for name, stops in (("whole", [None]), ("halves", [2, None])):
        for stop in stops:
            more = [*eyes(sets), *TALKING, "max_steps=4", "checkpoints.every=2", *([f"stop_at={stop}"] if stop else [])]
            run(load_recipe([], words("instruct", sets, tmp_path / name, *more)))
    one, other = (weights(tmp_path / name) for name in ("whole", "halves"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["stage=projector"], "the task .* shows images, and the model has no vision encoder"),
        (["model.pose_tokenizer=null"], "model.pose_tokenizer: name the run of stage 1"),
        (["start_from=nowhere"], "nowhere: no such run or model"),
        (["stage=''"], "stage: missing"),
        (["data.train.people.tasks={pose_diff: 1.0}"], "source people has nothing for the task pose_diff"),
        (["adapt.language_model=full"], "cannot train in full beside an adapter"),
        (["strangers=1.5"], "strangers is 1.5, expected a share from 0 to 1"),
        (["strangers=some"], "strangers"),
        (["data.train.pairs.tasks={talk_edits: 1.0}"], "did you mean 'talk_edit'"),
    ],
)
def test_a_recipe_that_cannot_work_says_why(sets: dict[str, Path], tmp_path: Path, more: list[str], message: str):
    with pytest.raises(UserError, match=message):
        build(load_recipe([], words("align", sets, tmp_path, *more)))


def test_a_language_model_that_is_none_says_so(sets: dict[str, Path], tmp_path: Path):
    clip = shutil.copytree(sets["vision"] / "clip", tmp_path / "clip")
    with pytest.raises(UserError, match=rf"{clip}: not a folder with a tokenizer"):
        build(load_recipe([], words("align", sets, tmp_path, f"model.language={clip}")))
    train_tokenizer(["The person raises the left arm."] * 10, 300).save_pretrained(clip)
    with pytest.raises(UserError, match=rf"{clip}: not a model that can be loaded"):
        build(load_recipe([], words("align", sets, tmp_path, f"model.language={clip}")))


def test_the_trained_model_answers_a_question(sets: dict[str, Path], tmp_path: Path):
    from llmpose.talk.decoding import Decoding
    from llmpose.talk.generation import generate

    result = run(load_recipe([], words("align", sets, tmp_path, *WHOLE, "max_steps=2")))
    model, processor = load_model(result.model).eval(), LlmPoseProcessor.from_pretrained(result.model)
    answers = generate(model, processor, [Conversation().user("Stand on one leg.")], Decoding(max_new_tokens=4))
    assert len(answers) == 1
