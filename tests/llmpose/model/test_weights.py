"""Importers, by parity: build theirs tiny and random, convert, see and say the same."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import text_config
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
    VitPoseBackbone,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
)

from llmpose import LlmPose, LlmPoseProcessor, Pose
from llmpose.errors import UserError
from llmpose.model.vision import Vision
from llmpose.model.weights.encoders import import_encoder
from llmpose.model.weights.llava import import_llava, load_llava
from llmpose.model.weights.pose_vit import import_pose_vit
from llmpose.model.weights.unipose import import_unipose
from llmpose.talk.vocabulary import Vocabulary
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig

IMAGE_ID, OLD_WORDS = 45, 50


def vocabulary(size: int = 80) -> Vocabulary:
    return Vocabulary(
        codebook_size=20,
        first_pose_id=56,
        pose_open_id=50,
        pose_close_id=51,
        pose_query_id=52,
        image_id=IMAGE_ID,
        pose_id=54,
        keypoint_id=55,
        end_id=2,
        pad_id=0,
        size=size,
    )


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)


def tiny_llava(name: str = "llava") -> LlavaForConditionalGeneration | LlavaNextForConditionalGeneration:
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = text_config("mistral" if name == "llava_next" else "llama", vocab_size=OLD_WORDS)
    if name == "llava":
        model = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=clip, text_config=text, image_token_index=IMAGE_ID, image_seq_length=4)
        )
    else:
        model = LlavaNextForConditionalGeneration(
            LlavaNextConfig(vision_config=clip, text_config=text, image_token_index=IMAGE_ID, image_seq_length=4)
        )
    randomise(model)
    return model.eval()


def question() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 40, (2, 14), generator=generator)
    ids[:, 3:7] = IMAGE_ID
    return ids, torch.randn(2, 3, 16, 16, generator=generator)


@pytest.mark.parametrize("more", [False, True], ids=["clip alone", "with a pose ViT beside it"])
def test_llava_says_the_same_as_transformers_own(tmp_path: Path, more: bool):
    theirs = tiny_llava()
    ids, pixels = question()
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=pixels).logits
    theirs.save_pretrained(tmp_path)
    extra = [import_pose_vit(mmpose_weights())] if more else []
    ours = import_llava(tmp_path, vocabulary(), more_encoders=extra, num_pose_tokens=5).eval()
    given = {"clip": pixels, **({"pose": torch.randn(2, 3, 64, 48)} if more else {})}
    with torch.no_grad():
        logits = ours(token_ids=ids, pixels=given).logits
    assert logits.shape[-1] == 80
    torch.testing.assert_close(logits[..., :OLD_WORDS], expected)


def test_llava_next_keeps_what_clip_and_projector_and_mistral_compute(tmp_path: Path):
    theirs = tiny_llava("llava_next")
    ids, pixels = question()
    theirs.save_pretrained(tmp_path)
    ours = import_llava(tmp_path, vocabulary(), num_pose_tokens=5).eval()
    with torch.no_grad():
        seen = theirs.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        tokens = theirs.model.multi_modal_projector(seen)
        embedded = theirs.get_input_embeddings()(ids)
        embedded[:, 3:7] = tokens
        expected = theirs.lm_head(theirs.model.language_model(inputs_embeds=embedded).last_hidden_state)
        logits = ours(token_ids=ids, pixels={"clip": pixels}).logits
    torch.testing.assert_close(logits[..., :OLD_WORDS], expected)


def test_a_folder_that_is_no_llava_says_what_it_is(tmp_path: Path):
    VitPoseBackbone(pose_config()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="model_type is 'vitpose_backbone'; expected llava or llava_next"):
        import_llava(tmp_path, vocabulary())


# --- pose ViTs --------------------------------------------------------------------------------------------------------

WIDTH, DEPTH, HEADS, ROWS, COLUMNS = 32, 2, 2, 4, 3


def pose_config() -> VitPoseBackboneConfig:
    return VitPoseBackboneConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=[64, 48], patch_size=[16, 16]
    )


def mmpose_weights(prefix: str = "") -> dict[str, Tensor]:
    """Names and shapes of the network that mmpose's ViTPose, HMR2 and TokenHMR share."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    named = {
        "patch_embed.proj.weight": random(WIDTH, 3, 16, 16),
        "patch_embed.proj.bias": random(WIDTH),
        "pos_embed": random(1, ROWS * COLUMNS + 1, WIDTH),
        "last_norm.weight": random(WIDTH),
        "last_norm.bias": random(WIDTH),
    }
    for layer in range(DEPTH):
        shapes = {
            "norm1": (WIDTH,),
            "attn.qkv": (3 * WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "norm2": (WIDTH,),
            "mlp.fc1": (4 * WIDTH, WIDTH),
            "mlp.fc2": (WIDTH, 4 * WIDTH),
        }
        for part, shape in shapes.items():
            named[f"blocks.{layer}.{part}.weight"] = random(*shape)
            named[f"blocks.{layer}.{part}.bias"] = random(shape[0])
    return {prefix + name: value for name, value in named.items()}


def run_mmpose(w: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """The network itself, from its weights: (N, C, rows, columns)."""
    x = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=16, padding=2)
    rows, columns = x.shape[2:]
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"][:, 1:] + w["pos_embed"][:, :1]
    norm = lambda x, name: F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)  # noqa: E731
    dense = lambda x, name: F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])  # noqa: E731
    for layer in range(DEPTH):
        at = f"blocks.{layer}"
        q, k, v = dense(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + dense(seen, f"{at}.attn.proj")
        x = x + dense(F.gelu(dense(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
    return norm(x, "last_norm").transpose(1, 2).unflatten(2, (rows, columns))


def features_of(spec, weights: dict[str, Tensor], pixels: Tensor) -> Tensor:
    vision = Vision([spec]).eval()
    vision.encoders["pose"].model.load_state_dict(weights)
    with torch.no_grad():
        return vision({"pose": pixels}).transpose(1, 2).unflatten(2, spec.grid)


@pytest.mark.parametrize("layout", ["mmpose", "lightning"])
def test_pose_vit_features_are_those_of_the_original_network(tmp_path: Path, layout: str):
    plain = mmpose_weights()
    if layout == "mmpose":
        state = {"state_dict": {**mmpose_weights("backbone."), "keypoint_head.final_layer.weight": torch.zeros(1)}}
    else:  # HMR2 and TokenHMR: a Lightning checkpoint with a head, SMPL and settings beside the backbone
        state = {
            "state_dict": {**mmpose_weights("backbone."), "smpl_head.decoder.weight": torch.zeros(2)},
            "epoch": 3,
            "hyper_parameters": {"cfg": Path("somewhere")},
        }
    torch.save(state, tmp_path / "model.ckpt")
    spec, weights = import_pose_vit(tmp_path / "model.ckpt", num_heads=HEADS)
    pixels = torch.randn(2, 3, 64, 48)
    ours = features_of(spec, weights, pixels)
    assert spec.grid == (4, 4)
    torch.testing.assert_close(ours[..., :COLUMNS], run_mmpose(plain, pixels), rtol=1e-4, atol=1e-5)
    assert (ours[..., COLUMNS:] == 0).all()


@pytest.mark.parametrize("whole", [False, True])
def test_pose_vit_from_a_folder_of_transformers(tmp_path: Path, whole: bool):
    if whole:
        model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=pose_config(), num_labels=5)).eval()
        backbone = model.backbone
    else:
        model = backbone = VitPoseBackbone(pose_config()).eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    spec, weights = import_pose_vit(tmp_path)
    pixels = torch.randn(2, 3, 64, 48)
    expected = backbone(pixels).feature_maps[-1].transpose(1, 2).unflatten(2, (ROWS, COLUMNS))
    torch.testing.assert_close(features_of(spec, weights, pixels)[..., :COLUMNS], expected)


def test_a_missing_weight_of_a_pose_vit_is_an_error():
    named = mmpose_weights()
    del named["blocks.1.mlp.fc2.bias"]
    with pytest.raises(UserError, match="1 weights are missing"):
        import_pose_vit(named, num_heads=HEADS)
    with pytest.raises(UserError, match="no pose ViT is in there"):
        import_pose_vit({"x": torch.zeros(1)})
    for name in ("pos_embed", "last_norm.weight", "blocks.0.mlp.fc1.weight"):
        without = {key: value for key, value in mmpose_weights().items() if key != name}
        with pytest.raises(UserError, match=f"these tensors: not a whole pose ViT: no '{name}'"):
            import_pose_vit(without, num_heads=HEADS)
    with pytest.raises(UserError, match=r"not a whole pose ViT: .*size mismatch") as caught:
        import_pose_vit({**mmpose_weights(), "blocks.0.attn.qkv.weight": torch.zeros(6, 6)}, num_heads=HEADS)
    assert "\n" not in str(caught.value)


# --- folders of transformers ------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without_one(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[-1]]
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("config.json", Path.unlink, "no config.json is there|not a LLaVA model"),
        ("config.json", lambda path: path.write_text("{"), "not a vision encoder|not a LLaVA model"),
        ("model.safetensors", Path.unlink, "not a model that can be loaded"),
        ("model.safetensors", cut, "not a model that can be loaded"),
        ("model.safetensors", without_one, r"its weights are not those of a \w+: 1 are missing \(\w+"),
    ],
)
@pytest.mark.parametrize("kind", ["llava", "clip"])
def test_a_folder_that_is_not_whole_is_one_line(
    tmp_path: Path, kind: str, file: str, damage: Callable[[Path], Any], says: str
):
    llava = tiny_llava()
    whole = llava if kind == "llava" else llava.model.vision_tower
    whole.save_pretrained(tmp_path)
    damage(tmp_path / file)
    load = load_llava if kind == "llava" else lambda folder: import_encoder(folder, "clip")
    with pytest.raises(UserError, match=f"^{tmp_path}: ({says})") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


# --- UniPose ----------------------------------------------------------------------------------------------------------

CODES, POSE_LENGTH = 6, 4


def unipose_tokenizer() -> PreTrainedTokenizerFast:
    """Words, then UniPose's: codes, begin and end, and at the very end its queries."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(OLD_WORDS - 4))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = [f"<pose_id_{i}>" for i in range(CODES + 2)] + [f"<pose_query_{i}>" for i in range(POSE_LENGTH)]
    core.add_tokens([AddedToken(name, normalized=False) for name in names])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def write_unipose(folder: Path, rank: int = 2) -> dict[str, Tensor]:
    """The release's files with random weights, in its names; returns them all."""
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    rows = OLD_WORDS + CODES + 2 + POSE_LENGTH
    lora, width = {}, 24
    for layer in range(2):
        for name, out in (("self_attn.q_proj", width), ("mlp.up_proj", 40)):
            at = f"base_model.model.model.layers.{layer}.{name}"
            lora[f"{at}.lora_A.weight"], lora[f"{at}.lora_B.weight"] = random(rank, width), random(out, rank)
    others = {
        "base_model.model.model.embed_tokens.weight": random(rows, width),
        "base_model.model.lm_head.weight": random(rows, width),
        "base_model.model.model.mm_projector.0.weight": random(width, 16 + WIDTH),
        "base_model.model.model.mm_projector.0.bias": random(width),
        "base_model.model.model.mm_projector.2.weight": random(width, width),
        "base_model.model.model.mm_projector.2.bias": random(width),
    }
    unipose_tokenizer().save_pretrained(folder)
    torch.save(lora, folder / "adapter_model.bin")
    torch.save(others, folder / "non_lora_trainables.bin")
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 4}))
    return {name.removeprefix("base_model.model."): value for name, value in {**lora, **others}.items()}


def test_unipose_says_the_same_as_its_own_arithmetic(tmp_path: Path):
    """An image and a given pose in the question, a pose produced: their mask, their projector, their queries."""
    llava = tiny_llava("llava_next")
    llava.save_pretrained(tmp_path / "llava")
    w = write_unipose(tmp_path)
    ours, tokenizer = import_unipose(
        tmp_path,
        tmp_path / "llava",
        mmpose_weights(),
        num_pose_tokens=POSE_LENGTH,
        codebook_size=CODES,
        pose_vit_heads=HEADS,
    )
    words = Vocabulary.of(tokenizer)
    first = OLD_WORDS
    assert (words.first_pose_id, words.pose_open_id, words.pose_close_id) == (first, first + CODES, first + CODES + 1)

    clip_pixels, pose_pixels = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 64, 48)
    given = [words.pose_open_id, *range(first, first + POSE_LENGTH), words.pose_close_id]
    asked = [words.pose_open_id, *[words.pose_query_id] * POSE_LENGTH, words.pose_close_id]
    ids = torch.tensor([[5, 6, *[words.image_id] * 4, 7, *given, 8, *asked, 9]])
    at = ids.shape[1] - 2 - POSE_LENGTH
    block = torch.zeros_like(ids)
    block[0, at : at + POSE_LENGTH] = 1
    zeros, position = torch.zeros_like(ids), torch.arange(ids.shape[1])[None]
    with torch.no_grad():
        logits = ours.eval()(
            token_ids=ids, sample=zeros, branch=zeros, block=block, position=position,
            pixels={"clip": clip_pixels, "pose": pose_pixels},
        ).logits  # fmt: skip

        seen = llava.model.vision_tower(clip_pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        poses = F.pad(run_mmpose(mmpose_weights(), pose_pixels), (0, 1))  # 3 columns of the picture's 4
        poses = F.interpolate(poses, size=(2, 2), mode="bilinear", align_corners=True).flatten(2).transpose(1, 2)
        x = torch.cat([seen, poses], dim=-1)
        for part in (0, 2):
            name = f"model.mm_projector.{part}"
            x = F.linear(F.gelu(x) if part else x, w[f"{name}.weight"], w[f"{name}.bias"])
        table = w["model.embed_tokens.weight"]
        embedded = table[ids.clamp(max=len(table) - 1)]
        embedded[:, 2:6] = x
        embedded[:, at : at + POSE_LENGTH] = table[-POSE_LENGTH:]
        mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        mask[at : at + POSE_LENGTH, at : at + POSE_LENGTH] = True
        body = llava.model.language_model
        for layer in range(2):
            for name in ("self_attn.q_proj", "mlp.up_proj"):
                key = f"model.layers.{layer}.{name}"
                body.get_submodule(f"layers.{layer}.{name}").weight.add_(
                    2.0 * w[f"{key}.lora_B.weight"] @ w[f"{key}.lora_A.weight"]
                )
        out = body(inputs_embeds=embedded, attention_mask=mask[None, None], position_ids=position).last_hidden_state
        expected = out @ w["lm_head.weight"].T
    torch.testing.assert_close(logits[..., : len(table)], expected, rtol=1e-4, atol=1e-4)
    assert ours.config.given_poses == "causal"


def test_a_converted_release_is_a_folder_that_is_talked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As docs/reproduce_unipose.md has it: import, save, ask about a picture and a pose, in words and for a pose."""
    monkeypatch.setattr(sys.modules[__name__], "POSE_LENGTH", 8)
    write_unipose(tmp_path)
    model, tokenizer = import_unipose(
        tmp_path, tiny_llava("llava_next"), mmpose_weights(), num_pose_tokens=8, codebook_size=CODES,
        pose_vit_heads=HEADS,
    )  # fmt: skip
    codec = PoseTokenizer(
        PoseTokenizerConfig(num_pose_tokens=8, codebook_size=CODES, hidden_size=16, num_layers=1, quantizer="ema")
    )
    model.save_pretrained(tmp_path / "whole")
    LlmPoseProcessor.for_model(model.config, tokenizer, codec).save_pretrained(tmp_path / "whole")
    talker = LlmPose.from_pretrained(tmp_path / "whole", device="cpu")
    asked = ["w5 ", Image.new("RGB", (30, 20), "red"), " w6 ", Pose.rest()]
    assert talker.processor.encoding.causal_given
    assert talker.chat(asked, max_new_tokens=4).token_ids
    (codes,) = talker.chat(asked, max_new_tokens=4, grammar="pose").codes
    assert len(codes) == 8
    assert max(codes) < CODES


def test_a_folder_that_is_not_uniposes_says_what_is_missing(tmp_path: Path):
    with pytest.raises(UserError, match=r"neither non_lora_trainables\.bin nor"):
        import_unipose(tmp_path, tiny_llava("llava_next"), mmpose_weights())
    write_unipose(tmp_path)
    with pytest.raises(UserError, match="the tokenizer lacks <pose_id_8>"):
        import_unipose(tmp_path, tiny_llava("llava_next"), mmpose_weights())

    def says(message: str) -> None:
        with pytest.raises(UserError, match=message):
            import_unipose(
                tmp_path, tiny_llava("llava_next"), mmpose_weights(), num_pose_tokens=POSE_LENGTH, codebook_size=CODES
            )

    lora = torch.load(tmp_path / "adapter_model.bin")
    name = next(name for name in lora if "lora_B" in name)
    torch.save({key: value for key, value in lora.items() if key != name}, tmp_path / "adapter_model.bin")
    says("not an adapter that fits model.layers.0.self_attn.q_proj: no 'model")
    torch.save({**lora, name: torch.zeros(3, 2)}, tmp_path / "adapter_model.bin")
    says("not an adapter that fits model.layers.0.self_attn.q_proj: The size")
    (tmp_path / "adapter_config.json").write_text('{"r": 2}')
    says("adapter_config.json: not an adapter's settings with lora_alpha and r: no 'lora_alpha'")
