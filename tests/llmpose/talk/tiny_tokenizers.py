"""A tokenizer of the other family: not bytes, but words that carry a mark for the space before them."""

import json
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast


def sentencepiece_like(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """As Llama's and Mistral's: a text's first word gets the mark, too, and unknown characters are spelt in bytes."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])  # type: ignore
    special = ["<unk>", "<s>", "</s>", "<user>"]
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=240, special_tokens=special, show_progress=False))
    model = json.loads(core.to_str())["model"]
    vocab = dict(model["vocab"])
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    merges = [tuple(pair) for pair in model["merges"]]
    core.model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)  # type: ignore
    core.decoder = decoders.Sequence(  # type: ignore
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<user>"],
    )
