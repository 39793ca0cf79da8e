"""A model from parts: a language model, vision encoders, a vocabulary with pose words. What stage 2 starts from.

The parts keep their weights; what is new (rows of new words, projector, pose queries) starts as `init_rows` and
transformers' own initialisation say. The result is saved as the base to which adapters of all stages refer.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llmpose.model.config import LlmPoseConfig, VisionEncoderSpec
from llmpose.model.modeling import LlmPoseForConditionalGeneration

if TYPE_CHECKING:
    from llmpose.talk.vocabulary import Vocabulary


SMOOTH_REACH = 0.2
"""How far a code's neighbourhood reaches, in diameters of the codebook."""


def assemble(
    language: PreTrainedModel,
    vocabulary: "Vocabulary",
    *,
    encoders: Sequence[tuple[VisionEncoderSpec, Mapping[str, Tensor] | None]] = (),
    projector: Literal["linear", "mlp2"] = "linear",
    num_pose_tokens: int = 80,
    pose_attention: Literal["mixed", "causal"] = "mixed",
    own_codes: bool = False,
    attn: str = "auto",
    seed: int = 0,
) -> LlmPoseForConditionalGeneration:
    """Put the parts together.

    Args:
        language: a decoder-only model with its head. It becomes part of the result; its tables grow to the vocabulary.
        vocabulary: of the tokenizer, pose words added.
        encoders: what the model sees with, and the weights of each (None: as initialised).
        projector, num_pose_tokens, pose_attention, own_codes, attn: see LlmPoseConfig.
        seed: of what is new.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grow_tables(language, vocabulary.size)
        config = LlmPoseConfig(
            text_config=language.config.to_dict(),
            vision=[spec for spec, _ in encoders],
            projector=projector,
            num_pose_tokens=num_pose_tokens,
            codebook_size=vocabulary.codebook_size,
            pose_attention=pose_attention,
            own_codes=own_codes,
            attn=attn,
            **ids_of(vocabulary),
        )
        model = LlmPoseForConditionalGeneration(config, language=language)
    _load_encoders(model, encoders)
    return cast(Any, model).to(language.dtype)


def add_vision(
    model: LlmPoseForConditionalGeneration,
    encoders: Sequence[tuple[VisionEncoderSpec, Mapping[str, Tensor] | None]],
    *,
    projector: Literal["linear", "mlp2"] = "linear",
    seed: int = 0,
) -> LlmPoseForConditionalGeneration:
    """The same model with eyes: encoders and a new projector. The language model and the queries are taken over."""
    values: dict[str, Any] = {
        **model.config.to_dict(),
        "vision": [spec for spec, _ in encoders],
        "projector": projector,
    }
    config = LlmPoseConfig(**values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = LlmPoseForConditionalGeneration(config, language=model.language)
    if model.pose_queries is not None:
        assert grown.pose_queries is not None
        grown.pose_queries.load_state_dict(model.pose_queries.state_dict())
    _load_encoders(grown, encoders)
    return cast(Any, grown).to(model.dtype)


def _load_encoders(
    model: LlmPoseForConditionalGeneration, encoders: Sequence[tuple[VisionEncoderSpec, Mapping[str, Tensor] | None]]
) -> None:
    for spec, weights in encoders:
        if weights is not None:
            assert model.vision is not None
            cast(Any, model.vision.encoders[spec.name]).model.load_state_dict(weights)


def ids_of(vocabulary: "Vocabulary") -> dict[str, Any]:
    """The ids that a model's configuration knows."""
    names = ("first_pose_id", "pose_open_id", "pose_close_id", "pose_query_id", "image_id", "keypoint_id", "point_id")
    return {**{name: getattr(vocabulary, name) for name in names}, "pad_token_id": vocabulary.pad_id}


def grow_tables(language: PreTrainedModel, size: int) -> None:
    """Rows for new words, in the embedding and in the head; tables that are large enough stay as they are."""
    old_rows = int(cast(Any, language.get_input_embeddings()).weight.shape[0])
    if size > old_rows:
        language.resize_token_embeddings(size, mean_resizing=False)
        for table in {id(t): t for t in (language.get_input_embeddings(), language.get_output_embeddings())}.values():
            init_rows(cast(Any, table).weight, old_rows)


@torch.no_grad()
def init_rows(table: Tensor | nn.Parameter, first: int) -> None:
    """New rows stand where the old ones stand on average, and differ by a tenth of their spread.

    So no new word is likelier than an old one at the start, and none is lost far from where the model knows its way.
    """
    old = table[:first].float()
    noise = torch.randn(len(table) - first, table.shape[1])
    table[first:] = (old.mean(0) + 0.1 * old.std(0) * noise.to(old.device)).to(table.dtype)


@torch.no_grad()
def init_codes(rows: Tensor, vectors: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Rows of pose tokens in a language model from nothing: codes start near each other as what they stand for.

    rows (N, D) are one or several stretches of the codebook, vectors (S, C) what the codes of each stand for. A row is
    the sum of a vector of its stretch and a draw of a Gaussian process over the codes, so what is learned of one code
    goes for its neighbours, and the place in the body is easy to see. Returns the stretches' own vectors (N / S, D).
    """
    vectors = vectors.double().cpu()
    distance = torch.cdist(vectors, vectors)
    reach = SMOOTH_REACH * distance.max()
    likeness = torch.exp(-(distance**2) / (2 * reach**2)) + 1e-4 * torch.eye(len(vectors))
    root = torch.linalg.cholesky(likeness)
    stretches, width = len(rows) // len(vectors), rows.shape[1]
    noise = torch.randn(stretches, len(vectors), width, generator=generator, dtype=root.dtype)
    places = torch.randn(stretches, width, generator=generator, dtype=root.dtype)
    rows.copy_((std * 0.5**0.5 * (root @ noise + places[:, None])).flatten(0, 1))
    return (std * places).to(rows.dtype)
