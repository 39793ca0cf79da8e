"""The model: vision tokens, text and poses in one row, one decoder-only language model, one cross-entropy.

`LlmPoseForConditionalGeneration` is an ordinary model of transformers around any decoder-only language model. A row of
tokens comes with its layout (llmpose/model/layout.py), from which the attention mask is built here, inside forward:

    out = model(**batch)                      training: out.loss, and sums per task for the logs
    out = model(token_ids=ids)                plain causal text: out.logits

Decoding with a cache keeps the layout of what is cached beside it; `out.layout` is the next call's `past`:

    cache = DynamicCache()
    out = model(token_ids=prompt, **layout.tensors(), cache=cache, return_logits=False)
    out = model(token_ids=new, **new_layout.tensors(), cache=cache, past=out.layout, return_logits=False)
    logits = model.logits(out.hidden[:, -1])

New tokens may be many per row (all queries of a pose at once), with padding (`sample` -1) in rows that have fewer; what
is padding is never seen, wherever it stands in the cache. A cached prefix is shared by repeating its row of the cache
(`cache.batch_select_indices`, `Layout.select`), or by giving the new tokens different branches of one row.

Shape letters: B rows, T tokens, N images, P cells of an image, C vision width, D hidden width, V vocabulary, K tasks.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Cache,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.utils.generic import ModelOutput

from llmpose.errors import UserError
from llmpose.model.batch import IGNORE
from llmpose.model.config import LlmPoseConfig
from llmpose.model.decoder import decode, layout_given
from llmpose.model.head import Squash, as_matrix
from llmpose.model.layout import Layout
from llmpose.model.loading import load_or_say
from llmpose.model.loss import LossSums, choose_loss, cross_entropy_sums, is_sharded, liger_version
from llmpose.model.prompts import KeypointHead, KeypointPrompts, keypoint_l1
from llmpose.model.vision import Projector, Vision

PoseErrorOf = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, T, K) of N poses of T tokens among K codes, and the true codes (N, T), to metres of error, (N,)."""

ZERO3_CHUNKS = 8
"""Under ZeRO-3 every call of the head gathers it from all ranks, so all ranks must chunk the loss alike."""


@dataclass
class LlmPoseOutput(ModelOutput):
    """What forward hands back."""

    loss: Tensor | None = None
    """Mean cross-entropy over the labelled positions (of all processes and accumulation steps, given their number)."""
    logits: Tensor | None = None
    """(B, T, V); None in training and with return_logits=False."""
    hidden: Tensor | None = None
    """(B, T, D) after the final norm; `model.logits` turns any part of it into logits."""
    cache: Cache | None = None
    layout: Layout | None = None
    """Layout of everything seen so far: the next call's `past`."""
    sums: LossSums | None = None
    """Loss, hits and counts, in all and per task: sums, for logs that add up processes first."""
    ratios: dict[str, tuple[Tensor, Tensor]] | None = None
    """loss_<task> and accuracy_<task>, each as its sum and the number of targets."""


class LlmPoseForConditionalGeneration(PreTrainedModel):
    """See the module's text. `language`, `vision`, `projector` and `pose_queries` are the parts that stages train."""

    config_class = LlmPoseConfig
    config: LlmPoseConfig
    base_model_prefix = ""
    main_input_name = "token_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    accepts_loss_kwargs = True

    def __init__(self, config: LlmPoseConfig, language: PreTrainedModel | None = None) -> None:
        """`language` is taken over as it is, weights and all; without it, one is made as the configuration says."""
        super().__init__(deepcopy(config))  # two live models must not share a sub-configuration
        if language is not None:
            self.config.text_config = language.config
        text = self.config.text_config
        assert isinstance(text, PreTrainedConfig)
        self.language: PreTrainedModel = language or AutoModelForCausalLM.from_config(text)
        specs = self.config.encoders()
        self.vision = Vision(specs) if specs else None
        width = int(text.hidden_size)  # type: ignore[attr-defined]
        self.projector = Projector(self.config.projector, self.config.vision_width, width) if specs else None
        mixed = self.config.pose_attention == "mixed"
        self.pose_queries = nn.Embedding(self.config.num_pose_tokens, width) if mixed else None
        self.prompts: KeypointPrompts | None = None
        if self.config.keypoint_prompts is not None:
            self._make_prompts()
        self.point_head = KeypointHead(width) if self.config.keypoint_positions == "regression" else None
        self.pose_error: PoseErrorOf | None = None
        self.pose_error_weight = 0.0
        self._tied_weights_keys = {}  # empty, not None: PEFT then looks for those of `language`
        self.post_init()

    def _make_prompts(self) -> None:
        kind, width = self.config.keypoint_prompts, self.config.vision_width
        if not width:
            raise UserError("keypoint prompts look at images; this model was built without a vision encoder")
        assert kind is not None
        heads = next(count for count in (8, 4, 2, 1) if width % count == 0)
        hidden = int(self.config.text_config.hidden_size)  # type: ignore[union-attr]
        self.prompts = KeypointPrompts(width, hidden, kind=kind, num_heads=heads)

    def add_keypoint_prompts(self, kind: Literal["extractor", "average"], seed: int = 0) -> None:
        """Give a model that knows none a new encoder of keypoint prompts."""
        self.config.keypoint_prompts = kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._make_prompts()
        self.prompts = cast(Any, self.prompts).to(self.device, self.dtype)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """From a folder or the hub: all of its weights, or an error of one line."""
        return load_or_say(super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)

    def add_point_head(self, point_id: int, seed: int = 0) -> None:
        """Give a model that writes positions in digits a new head that reads them off `<point>`."""
        self.config.keypoint_positions, self.config.point_id = "regression", point_id
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = KeypointHead(int(self.config.text_config.hidden_size))  # type: ignore[union-attr]
        self.point_head = head.to(self.device, self.dtype)

    # --- the two tables -----------------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Module:
        return self.language.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        head = self.language.get_output_embeddings()
        assert head is not None
        return head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language.set_output_embeddings(new_embeddings)

    # --- images -------------------------------------------------------------------------------------------------------

    def encode_images(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Encoder name -> (N, 3, H, W), to (N, P, C): what a cache of frozen features keeps."""
        if self.vision is None:
            raise UserError("this model was built without a vision encoder; it knows poses and text only")
        return self.vision(pixels, self.config.attn)

    def _features(self, pixels: Mapping[str, Tensor] | None, features: Tensor | None) -> Tensor | None:
        """(N, P, C) of all images of a batch; None where there is none to look at."""
        if features is None and pixels is not None and len(next(iter(pixels.values()))):
            return self.encode_images(pixels)
        return features

    def _vision_tokens(self, features: Tensor | None) -> tuple[Tensor | None, int]:
        """Projected tokens (N·P, D) and the number of images N; with N = 0 they may be those of a dummy image."""
        if self.projector is None or self.vision is None:
            return None, 0
        num_images = 0 if features is None else len(features)
        if num_images == 0:
            if not (torch.is_grad_enabled() and self._must_see()):
                return None, 0
            # A rank whose batch has no image must run the same modules as the others: gradients are reduced (DDP,
            # ZeRO-2) and parameters gathered (ZeRO-3) module by module, and a rank that skips one leaves all waiting.
            if features is None:
                features = self.encode_images(self.vision.dummy_pixels(self.device))
            else:
                features = features.new_zeros(1, *features.shape[1:])
        assert features is not None
        return self.projector(features).flatten(0, 1), num_images

    def _prompt_tokens(self, features: Tensor | None, table: Mapping[str, Tensor] | None) -> tuple[Tensor | None, int]:
        """(Q, D) of the keypoint prompts, which lie in the support images of `features` (M, P, C), and their number."""
        if self.prompts is None:
            if table is not None:
                raise UserError("a keypoint prompt, but this model has no encoder for keypoint prompts")
            return None, 0
        weight = self.prompts.project.weight
        grid = self.config.encoders()[0].grid
        if table is None or features is None:
            if not (torch.is_grad_enabled() and (weight.requires_grad or is_deepspeed_zero3_enabled())):
                return None, 0
            dummy = weight.new_zeros(1, 1, grid[0] * grid[1], self.config.vision_width)  # see _vision_tokens
            nowhere = torch.zeros(1, 1, 1, dtype=torch.int64, device=weight.device)
            return self.prompts(dummy, weight.new_zeros(1, 1, 1, 2), nowhere, grid).flatten(0, 1), 0
        asked = features.to(weight.dtype)[table["support"]]
        found = self.prompts(asked, table["points"], table["state"], grid)
        return found.flatten(0, 1)[table["place"]], len(table["place"])

    def _must_see(self) -> bool:
        trained = any(p.requires_grad for part in (self.projector, self.vision) if part for p in part.parameters())
        return trained or is_deepspeed_zero3_enabled()

    # --- a row of embeddings ------------------------------------------------------------------------------------------

    def embed(
        self,
        token_ids: Tensor,
        pixels: Mapping[str, Tensor] | None = None,
        image_features: Tensor | None = None,
        prompts: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """(B, T) ids to (B, T, D): words from the table; pose queries, vision tokens and prompts in their places.

        The i-th query of a block is `pose_queries[i]` (UniPose §3.2); a block's queries always come together, so i is
        the running number of the query in its row, modulo num_pose_tokens. Vision tokens fill the image placeholders
        in order, row by row; keypoint prompts fill theirs. The support images of prompts come behind all others.
        """
        embedded = self.get_input_embeddings()(token_ids)
        if self.pose_queries is not None and self.config.pose_query_id is not None:
            is_query = token_ids == self.config.pose_query_id
            index = (is_query.cumsum(1) - 1).clamp(min=0) % self.config.num_pose_tokens
            queries = self.pose_queries(index).to(embedded.dtype)
            embedded = torch.where(is_query[..., None], queries, embedded)
        features, support_features = self._features(pixels, image_features), None
        if prompts is not None and features is not None:
            num_shown = len(features) - int(prompts["support"].max()) - 1
            features, support_features = features[:num_shown], features[num_shown:]
        asked, num_prompts = self._prompt_tokens(support_features, prompts)
        embedded = _put(embedded, token_ids, self.config.keypoint_id, asked, num_prompts, "keypoint prompts")
        tokens, num_images = self._vision_tokens(features)
        per_image = self.config.num_image_tokens
        what = f"vision tokens ({num_images} images of {per_image} each)"
        return _put(embedded, token_ids, self.config.image_id, tokens, num_images * per_image, what)

    # --- the language model -------------------------------------------------------------------------------------------

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) to (..., V), with the scaling that some language models put behind their head."""
        return Squash.of(self.config.text_config)(self.get_output_embeddings()(hidden))

    def forward(
        self,
        token_ids: Tensor | None = None,
        labels: Tensor | None = None,
        sample: Tensor | None = None,
        branch: Tensor | None = None,
        block: Tensor | None = None,
        position: Tensor | None = None,
        task: Tensor | None = None,
        tasks: tuple[str, ...] = (),
        pixels: Mapping[str, Tensor] | None = None,
        image_features: Tensor | None = None,
        prompts: Mapping[str, Tensor] | None = None,
        points: Tensor | None = None,
        cache: Cache | None = None,
        past: Layout | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_logits: bool | None = None,
        inputs_embeds: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> LlmPoseOutput:
        """See the module's text for training and decoding.

        Args:
            token_ids: (B, T); `input_ids` is another name for it.
            labels: (B, T), where they are predicted: no shift. IGNORE elsewhere.
            sample, branch, block, position: (B, T) the layout; without it, one causal sample per row. A 2D
                `attention_mask` (1 real, 0 padding) then says what is padding.
            task, tasks: (B, T) index into the names `tasks`: whose sums a position's loss goes to.
            pixels: encoder name -> (N, 3, H, W) of all images of all rows in the order of their placeholders, or
            image_features: (N, P, C), what `encode_images` made of them.
            prompts: keypoint prompts (batch.prompt_table); their support images come last among the images.
            points: (Q, 3) of the `<point>` tokens in order: x, y, labelled positions of its conversation.
            cache, past: a cache that keeps every key (DynamicCache(), StaticCache), and the layout of what
                it holds. use_cache without a cache makes a DynamicCache.
            num_items_in_batch: labelled positions over all processes and accumulation steps; without it, of this call.
            return_logits: by default, logits are made where there are no labels.
            kwargs: names that travel in a batch for others (record_ids) are ignored.
        """
        token_ids = input_ids if token_ids is None else token_ids
        if inputs_embeds is None:
            if token_ids is None:
                raise ValueError("forward needs token_ids or inputs_embeds")
            if token_ids.shape[1] == 0:
                raise UserError("the row holds 0 tokens; there is nothing to read and nothing to answer")
            inputs_embeds = self.embed(token_ids, pixels, image_features, prompts)
        layout = layout_given(inputs_embeds, (sample, branch, block, position), attention_mask, past)
        if cache is None and use_cache:
            cache = DynamicCache()
        hidden = decode(self.language, self.config, inputs_embeds, layout, cache, past)
        out = LlmPoseOutput(hidden=hidden, cache=cache)
        out.layout = layout if past is None else Layout.cat([past, layout])
        if labels is not None:
            out.sums = sums = self._sums(hidden, labels, task, len(tasks))
            out.ratios = {}
            for index, name in enumerate(tasks):
                count = sums.task_count[index]
                out.ratios[f"loss_{name}"] = (sums.task_loss[index], count)
                out.ratios[f"accuracy_{name}"] = (sums.task_correct[index], count)
            loss = sums.loss
            if self.point_head is not None:
                loss = loss + self._point_loss(hidden, token_ids, points, out.ratios)
            if self.pose_error is not None:
                loss = loss + self._pose_loss(hidden, labels, self.pose_error, out.ratios)
            out.loss = loss / (num_items_in_batch if num_items_in_batch is not None else out.sums.count)
        if return_logits if return_logits is not None else labels is None:
            out.logits = self.logits(hidden)
        return out

    def _sums(self, hidden: Tensor, labels: Tensor, task: Tensor | None, num_tasks: int) -> LossSums:
        labelled = labels != IGNORE
        tasks = task[labelled] if task is not None else labels.new_zeros(0)
        kernel = choose_loss(hidden.device.type, liger=liger_version(), is_sharded=is_sharded())
        squash = Squash.of(self.config.text_config)
        return cross_entropy_sums(
            self.logits,
            hidden[labelled],
            labels[labelled],
            tasks,
            num_tasks if task is not None else 0,
            vocab_size=self.config.text_config.vocab_size,  # type: ignore[union-attr]
            num_chunks=ZERO3_CHUNKS if is_deepspeed_zero3_enabled() else None,
            matrix=as_matrix(self.get_output_embeddings(), squash) if kernel == "liger" else None,
        )

    def _point_loss(
        self,
        hidden: Tensor,
        token_ids: Tensor | None,
        points: Tensor | None,
        ratios: dict[str, tuple[Tensor, Tensor]],
    ) -> Tensor:
        """λ · L1 of every point (KptLLM++ Eq. 7), as often as its conversation has labels.

        Divided by all labels, as the cross-entropy is, that is the mean over labels of "cross-entropy + λ · L1 of the
        conversation that the label stands in": Eq. 7 for one conversation, and exact over branches, accumulation and
        processes, which count labels only.
        """
        assert self.point_head is not None
        nothing = hidden.new_zeros((), dtype=torch.float32)
        ratios["keypoint_l1"] = (nothing, nothing)  # logged alike on every rank
        if points is None or token_ids is None:
            return 0.0 * self.point_head(hidden[:, 0]).sum()  # every rank runs the same modules: see _vision_tokens
        said = hidden[token_ids == self.config.point_id]
        if len(said) != len(points):
            raise UserError(f"{len(points)} points to be learnt, the tokens hold {len(said)} places for them")
        error = keypoint_l1(self.point_head(said), points[:, :2])
        ratios["keypoint_l1"] = (error.detach().sum(), error.new_tensor(float(len(error))))
        return self.config.keypoint_loss_weight * (points[:, 2] * error).sum()

    def _pose_loss(
        self, hidden: Tensor, labels: Tensor, pose_error: PoseErrorOf, ratios: dict[str, tuple[Tensor, Tensor]]
    ) -> Tensor:
        """What every answered pose costs as a whole, once for each of its tokens; divided by all labels, as above.

        The head is asked again, for poses alone: fused kernels do not hand out their logits.
        """
        first, tokens = self.config.first_pose_id, self.config.num_pose_tokens
        assert first is not None
        said = (labels >= first) & (labels < first + self.config.codebook_size)
        logits = self.logits(hidden[said])[:, first : first + self.config.codebook_size]
        error_m = pose_error(logits.view(-1, tokens, logits.shape[-1]), (labels[said] - first).view(-1, tokens))
        ratios["pose_error_mm"] = (1000 * error_m.detach().sum(), error_m.new_tensor(float(len(error_m))))
        return tokens * (self.pose_error_weight * error_m).sum()


def _put(
    embedded: Tensor, token_ids: Tensor, place_id: int | None, tokens: Tensor | None, count: int, what: str
) -> Tensor:
    """`tokens` in the places of `place_id`, of which there must be `count`; with none, dummies only join the graph."""
    is_place = token_ids == place_id if place_id is not None else torch.zeros_like(token_ids, dtype=torch.bool)
    if (places := int(is_place.sum())) != count:
        raise UserError(f"{count} {what}, the tokens hold {places} places for them")
    if tokens is None:
        return embedded
    if not count:
        return embedded + 0.0 * tokens.sum().to(embedded.dtype)
    return embedded.masked_scatter(is_place[..., None], tokens.to(embedded.dtype))


AutoConfig.register(LlmPoseConfig.model_type, LlmPoseConfig)
AutoModel.register(LlmPoseConfig, LlmPoseForConditionalGeneration)
AutoModelForImageTextToText.register(LlmPoseConfig, LlmPoseForConditionalGeneration)
