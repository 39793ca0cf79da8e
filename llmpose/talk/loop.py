"""The loop over one batch (see generation.py): read, speak, ask for poses, drop what has finished."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from llmpose.errors import UserError
from llmpose.model.batch import Example, prompt_table
from llmpose.model.layout import PADDING, Layout
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.cache import DecodingCache
from llmpose.talk.decoding import Decoding
from llmpose.talk.padding import pad_examples
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.prompts import split_prompts
from llmpose.talk.rows import Row, Teller
from llmpose.talk.sampling import choose, log_probabilities

_MOST_CHOICES = 32
"""Words that are weighed where points are refined; ten digits, and what lies beside them."""

WORTH_KEEPING = 0.75
"""Rows or columns of the cache are dropped once less than this share of them is of use."""


class Loop:
    """Row i of `rows` is row i of cache, `past` and `hidden`; finished rows stay until it pays to drop them."""

    def __init__(
        self,
        model: LlmPoseForConditionalGeneration,
        processor: LlmPoseProcessor,
        settings: Decoding,
        teller: Teller | None = None,
    ) -> None:
        self.model, self.processor, self.settings, self.teller = model, processor, settings, teller
        self.device = model.device
        self.words = processor.vocabulary
        self.num_codes = processor.num_pose_tokens
        self.means = processor.mean_table() if settings.refine_poses and processor.has_pose_tokenizer else None
        self.causal = processor.encoding.causal_poses
        self.rows: list[Row] = []
        self.done: list[Row] = []
        self.past: Layout | None = None
        self.hidden = torch.empty(0)
        """(rows, D) of the last token that each row has read."""
        self.ahead: Tensor | None = None
        """(rows, N + 1, D) of queries and </p> that were asked while the prompt was read."""

    def run(self) -> list[Row]:
        """Until every row has finished."""
        self.speak()
        while True:
            self.ask_poses()
            self.settle()
            if not self.rows:
                return self.done
            self.read()
            self.speak()

    # -- reading ----------------------------------------------------------------------------------------------------

    def read_prompts(self, rows: list[Row], prompts: Sequence[Example]) -> None:
        """What prompts share is read once; then every row reads its own rest."""
        words, share = self.words, self.settings.share_prefixes
        split = split_prompts(prompts, image_id=words.image_id, keypoint_id=words.keypoint_id, share=share)
        layers = int(cast(Any, self.model.config.text_config).num_hidden_layers)
        self.cache = DecodingCache(layers, self._fixed_length(rows, prompts))
        batch = pad_examples(split.prefixes, pad_id=self.words.pad_id).to(self.device)
        has_rest = any(len(rest) for rest in split.rests)
        self.hidden = self._forward(batch.token_ids, batch.layout(), self._shown(split.prefixes), ahead=not has_rest)
        if split.which != list(range(len(split.prefixes))):
            self.select(split.which)
        self.rows = rows
        for row, prompt, rest in zip(rows, prompts, split.rests, strict=True):
            row.position = int(prompt.position[len(prompt) - len(rest) - 1]) + 1
            row.block = int(prompt.block.max())
            row.feed = list(zip(rest.token_ids.tolist(), rest.block.tolist(), strict=True))
            self._keep_room(row, len(prompt))
        if has_rest:
            self.read(self._shown(split.rests), ahead=True)

    def _shown(self, examples: Sequence[Example]) -> dict[str, Any]:
        """What these prompts show: their images, then the support images of their keypoints."""
        supports, table = prompt_table([prompt for example in examples for prompt in example.prompts])
        images = [*(image for example in examples for image in example.images), *supports]
        prompts = None if table is None else {name: values.to(self.device) for name, values in table.items()}
        return {"image_features": self._features(images), "prompts": prompts}

    def _features(self, images: Sequence[Any]) -> Tensor | None:
        """(N, P, C): what the encoders see in each image; an image that comes again is not looked at again."""
        if not images:
            return None
        unique = {id(image): image for image in images}
        place = {key: number for number, key in enumerate(unique)}
        pixels = {name: one.to(self.device) for name, one in self.processor.pixels(list(unique.values())).items()}
        return self.model.encode_images(pixels)[[place[id(image)] for image in images]]

    def read(self, shown: dict[str, Any] | None = None, *, ahead: bool = False) -> None:
        """Every row reads its feed; rows with less to read are padded on the left, and nobody sees that."""
        feeds = [row.feed if row.finish is None else [] for row in self.rows]
        longest = max(len(feed) for feed in feeds)
        padding = (self.words.pad_id, PADDING, 0, 0)
        cells: list[list[tuple[int, int, int, int]]] = []  # of each row: token id, sample, block, position
        for row, feed in zip(self.rows, feeds, strict=True):
            read = [(token_id, 0, block, row.position + i) for i, (token_id, block) in enumerate(feed)]
            cells.append([padding] * (longest - len(feed)) + read)
            row.position += len(feed)
            row.feed = []
        token_ids, sample, block, position = torch.tensor(cells, device=self.device).unbind(-1)
        layout = Layout(sample, torch.zeros_like(sample), block, position)
        hidden = self._forward(token_ids, layout, shown, ahead=ahead)
        if all(feeds):
            self.hidden = hidden
        else:
            has_read = torch.tensor([bool(feed) for feed in feeds], device=self.device)
            self.hidden = torch.where(has_read[:, None], hidden, self.hidden)

    def _forward(
        self, token_ids: Tensor, layout: Layout, shown: dict[str, Any] | None = None, *, ahead: bool = False
    ) -> Tensor:
        """Append to the cache; (rows, D) of the last column."""
        ahead = ahead and self.settings.pose_ahead and not self.causal
        count = layout.shape[1]
        if ahead:
            seen = layout if self.past is None else Layout.cat([self.past, layout])
            asked, asked_layout = self._question(seen.next_position(), seen.block.max(1, keepdim=True).values + 1)
            token_ids = torch.cat([token_ids, asked], 1)
            asked_layout.branch[:] = 1  # what is read later must not see it
            layout_now = Layout.cat([layout, asked_layout])
        else:
            layout_now = layout
        hidden = self.model(
            token_ids=token_ids,
            **layout_now.tensors(),
            **(shown or {}),
            cache=self.cache,
            past=self.past,
            return_logits=False,
        ).hidden
        if ahead:
            self.cache.crop(layout_now.shape[1] - count)
            self.ahead = hidden[:, count + 1 :]
        self.past = layout if self.past is None else Layout.cat([self.past, layout])
        return hidden[:, count - 1]

    def _question(self, position: Tensor, block: Tensor) -> tuple[Tensor, Layout]:
        """`<p>`, all pose queries and `</p>`, from `position` (rows, 1) on, the queries in `block` (rows, 1)."""
        rows, words = len(position), self.words
        ids = [words.pose_open_id, *[words.pose_query_id] * self.num_codes, words.pose_close_id]
        token_ids = torch.tensor(ids, device=self.device).expand(rows, -1)
        zeros = torch.zeros_like(token_ids)
        is_query = token_ids == words.pose_query_id
        positions = position + torch.arange(len(ids), device=self.device)
        return token_ids, Layout(zeros, zeros.clone(), torch.where(is_query, block, 0), positions)

    # -- speaking ---------------------------------------------------------------------------------------------------

    def locate(self) -> None:
        """Every row that has read its <point> gets its place."""
        where = [i for i, row in enumerate(self.rows) if row.is_pointing and row.finish is None and not row.feed]
        if where:
            assert self.model.point_head is not None
            places = self.model.point_head(self._of(self.hidden, where)).tolist()
            for i, (x, y) in zip(where, places, strict=True):
                self.rows[i].point((x, y))

    def speak(self) -> None:
        """Every row says one more word, or in causal mode one more code of its pose."""
        self.locate()
        text = [i for i, row in enumerate(self.rows) if row.finish is None and row.opened is None]
        poses = [i for i, row in enumerate(self.rows) if row.finish is None and row.opened is not None]
        if text:
            logprobs = self.word_logprobs(self._of(self.hidden, text), [self.rows[i] for i in text])
            chosen = self._chosen(logprobs, text, self.settings.temperature, self.settings.top_p)
            choices = self._choices(logprobs)
            for (i, token_id, logprob), own in zip(chosen, choices, strict=True):
                self.rows[i].say(token_id, logprob, own)
                self.check_room(self.rows[i])
        if poses:
            places = [len(self.rows[i].codes) for i in poses]
            logprobs = self._code_logprobs(self._of(self.hidden, poses), places)
            for i, code, logprob in self._chosen(logprobs, poses, self.settings.pose_temperature, 1.0):
                self._say_code(self.rows[i], code, logprob)
        if self.teller is not None:
            for row in self.rows:
                self.teller.tell(row)

    def _chosen(
        self, logprobs: Tensor, where: list[int], temperature: float, top_p: float
    ) -> list[tuple[int, int, float]]:
        chance = torch.tensor([self.rows[i].draw() for i in where]) if temperature > 0 else None
        choice = choose(logprobs, temperature=temperature, top_p=top_p, chance=chance)
        return list(zip(where, choice.ids.tolist(), choice.logprobs.tolist(), strict=True))

    def _choices(self, logprobs: Tensor) -> list[dict[int, float] | None]:
        """What each row might say, with probabilities: for points that stand for all of it."""
        if self.settings.points == "said":
            return [None] * len(logprobs)
        most = logprobs.topk(min(_MOST_CHOICES, logprobs.shape[1]), dim=1)
        shares = most.values.exp()
        return [
            dict(zip(ids, own, strict=True)) for ids, own in zip(most.indices.tolist(), shares.tolist(), strict=True)
        ]

    def word_logprobs(self, hidden: Tensor, rows: Sequence[Row]) -> Tensor:
        """(rows, V): what each row may say next, and how likely it is."""
        masks = [row.allowed() for row in rows]
        alike = all(mask is masks[0] for mask in masks)
        return log_probabilities(self.model.logits(hidden), masks[0] if alike else torch.stack(masks))

    def _code_logprobs(self, hidden: Tensor, places: list[int] | None = None) -> Tensor:
        """(rows, [N,] codebook_size): in a pose there are pose tokens only; of one place each, or of all N in order."""
        ids, allowed = self.words.pose_ids, None
        if self.model.config.own_codes:
            place = torch.arange(self.num_codes) if places is None else torch.tensor(places)
            of_code = torch.arange(len(ids)) // (len(ids) // self.num_codes)
            allowed = (place[:, None] == of_code).to(hidden.device)
        return log_probabilities(self.model.logits(hidden)[..., ids.start : ids.stop], allowed)

    def _say_code(self, row: Row, code: int, logprob: float) -> None:
        row.codes.append((code, logprob))
        row.feed = [(self.words.code_to_id(code), 0)]
        if len(row.codes) == self.num_codes:
            codes, logprobs = zip(*row.codes, strict=True)
            row.codes = []
            row.pose(codes, logprobs)
            row.feed.append((self.words.pose_close_id, 0))

    def _keep_room(self, row: Row, read: int) -> None:
        """An answer that must be led to its end has no more room than the context behind its prompt."""
        limit = self.processor.context_length
        if limit is None or row.grammar.is_open:
            return
        row.room = min(row.room, limit - read)
        if row.grammar.shortest() > row.room:
            raise UserError(
                f"the prompt takes {read} tokens, the model reads {limit}; the shortest answer that the grammar allows "
                f"may take {row.grammar.shortest()}; shorten the prompt"
            )

    def check_room(self, row: Row) -> None:
        """A row that has said <p> needs room for a whole pose in the model's context, any other one for its word."""
        if row.finish is not None:
            return
        needed = self.num_codes + 2 if row.opened is not None else len(row.feed)
        limit = self.processor.context_length
        if limit is not None and row.position + needed > limit:
            row.finish, row.opened = "context", None
        elif row.opened is not None and self.causal:
            row.feed = [(self.words.pose_open_id, 0)]

    # -- poses ------------------------------------------------------------------------------------------------------

    def ask_poses(self) -> None:
        """Every row that has said <p> gets its whole pose."""
        where = [i for i, row in enumerate(self.rows) if row.opened is not None]
        if where and not self.causal:
            hidden = self._of(self.ahead, where) if self.ahead is not None else self._look(where)
            temperature = self.settings.pose_temperature
            logprobs = self._code_logprobs(hidden[:, :-1])
            chance = None
            if temperature > 0:
                chance = torch.tensor([[self.rows[i].draw() for _ in range(self.num_codes)] for i in where])
            choice = choose(logprobs, temperature=temperature, chance=chance)
            means = None if self.means is None else (logprobs.exp() @ self.means.to(logprobs)).cpu()
            for row, (i, codes, likely) in enumerate(
                zip(where, choice.ids.tolist(), choice.logprobs.tolist(), strict=True)
            ):
                self.rows[i].pose(tuple(codes), tuple(likely), None if means is None else means[row])
            self._go_on(where, hidden[:, -1])
        self.ahead = None

    def _look(self, where: list[int]) -> Tensor:
        """(rows, N + 1, D) of the queries and </p> of these rows; the cache stays as it is."""
        assert self.past is not None
        rows = [self.rows[i] for i in where]
        position = torch.tensor([[row.position] for row in rows], device=self.device)
        block = torch.tensor([[row.block + 1] for row in rows], device=self.device)
        token_ids, layout = self._question(position, block)
        index = torch.tensor(where, device=self.device)
        with self.cache.peek(index):
            out = self.model(
                token_ids=token_ids,
                **layout.tensors(),
                cache=self.cache,
                past=self.past.select(index),
                return_logits=False,
            )
        return out.hidden[:, 1:]

    def _go_on(self, where: list[int], hidden: Tensor) -> None:
        """Seen from the queries, does the answer end behind </p>? Where it does not, the pose itself is read."""
        asking = [place for place, i in enumerate(where) if self.rows[i].finish is None]
        if asking:
            indices = [where[place] for place in asking]
            logprobs = self.word_logprobs(self._of(hidden, asking), [self.rows[i] for i in indices])
            settings = self.settings
            for i, token_id, logprob in self._chosen(logprobs, indices, settings.temperature, settings.top_p):
                if token_id == self.processor.end_id:
                    self.rows[i].say(token_id, logprob)
        for i in where:
            row = self.rows[i]
            if row.finish is None:
                row.block += 1
                codes = [(self.words.code_to_id(code), row.block) for code in row.last_codes]
                row.feed = [(self.words.pose_open_id, 0), *codes, (self.words.pose_close_id, 0)]
            if self.teller is not None:
                self.teller.tell(row)

    # -- rows and columns -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Take note of rows that have finished; make the batch smaller where it pays."""
        alive = [i for i, row in enumerate(self.rows) if row.finish is None]
        if not alive:
            self.done += self.rows
            self.rows = []
        elif self.settings.cache == "dynamic":
            assert self.past is not None
            longest = max(self.rows[i].position for i in alive)  # a row's position is the number of tokens it has read
            columns = longest if longest < WORTH_KEEPING * self.past.shape[1] else None
            if columns is not None or len(alive) < WORTH_KEEPING * len(self.rows):
                self.done += [row for row in self.rows if row.finish is not None]
                self.rows = [self.rows[i] for i in alive]
                self.select(alive, columns)

    def select(self, rows: Sequence[int], columns: int | None = None) -> None:
        """Keep these rows of the tensors (repeated, if an index is); with `columns`, close up their padding."""
        assert self.past is not None
        index = torch.tensor(rows, device=self.device)
        self.past, self.hidden = self.past.select(index), self.hidden[index]
        self.ahead = self.ahead[index] if self.ahead is not None else None
        kept: Tensor | None = None
        if columns is not None:
            is_real = self.past.sample != PADDING
            kept = is_real.to(torch.int8).argsort(dim=1, stable=True)[:, -columns:]
            self.past = Layout(*(tensor.gather(1, kept) for tensor in self.past.tensors().values()))
        self.cache.keep(index, kept)

    def _fixed_length(self, rows: Sequence[Row], prompts: Sequence[Example]) -> int | None:
        if self.settings.cache == "dynamic":
            return None
        prompt = 2 * max(len(one) for one in prompts)  # a shared prefix and the longest rest stand side by side
        # Every step takes one column for all rows, and every pose that goes on a whole block's.
        poses = self.settings.max_poses * len(rows) * (self.num_codes + 2)
        return prompt + self.settings.max_new_tokens + poses + self.num_codes + 2

    def _of(self, tensor: Tensor, where: list[int]) -> Tensor:
        return tensor if len(where) == len(tensor) else tensor[torch.tensor(where, device=tensor.device)]
