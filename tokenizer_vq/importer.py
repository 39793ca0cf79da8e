"""Weights of the published pose VQ-VAEs in our layout: TokenHMR's (body only) and UniPose's (root included).

Both are the convolutional design, saved by torch as {"net" | "state_dict": …, "hparams": …}. Nothing in the file is
executed (`weights_only`); sizes are read off the tensors. Layers are the same in the same order, so they are matched by
order, and every tensor of the file must find its place.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokenizer_vq.config import PoseTokenizerConfig
from tokenizer_vq.model import PoseTokenizer


def import_pose_vqvae(path: str | Path, *, prefix: str | None = None) -> PoseTokenizer:
    """Read a TokenHMR or UniPose checkpoint. `prefix`: where the tokenizer lies in a larger model; None finds it."""
    state = _read(Path(path), prefix)
    convs = {side: _in_order(state, f"{side}.") for side in ("encoder", "decoder")}
    codebook = state.get("quantizer.codebook")
    if codebook is None or not convs["encoder"] or not convs["decoder"]:
        raise ValueError(
            f"{path}: no pose VQ-VAE in it; expected encoder.*, decoder.* and quantizer.codebook, found "
            f"{', '.join(sorted({key.split('.')[0] for key in state})[:6]) or 'nothing'}"
        )
    model = PoseTokenizer(_config(path, convs, codebook))
    new: dict[str, Tensor] = {}
    for side, place in (("encoder", "encoder.net."), ("decoder", "decoder.")):
        theirs, ours = list(convs[side].values()), _in_order(model.state_dict(), place)
        if [tuple(t.shape) for t in theirs] != [tuple(t.shape) for t in ours.values()]:
            raise ValueError(f"{path}: the {side}'s layers are not those of the published design")
        new.update({f"{place}{name}": tensor for name, tensor in zip(ours, theirs, strict=True)})
    counts, sums = state.get("quantizer.code_count"), state.get("quantizer.code_sum")
    book = "quantizer.library._codebook."
    new[f"{book}embed"] = codebook[None]
    new[f"{book}embed_avg"] = (codebook if sums is None else sums)[None]
    new[f"{book}cluster_size"] = (torch.ones(len(codebook)) if counts is None else counts)[None]
    new[f"{book}initted"] = torch.tensor([True])
    like = model.state_dict()
    model.load_state_dict({name: tensor.to(like[name]).reshape(like[name].shape) for name, tensor in new.items()})
    return model.eval()


def _read(path: Path, prefix: str | None) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        whole: Any = load_file(path)
    else:
        # TokenHMR saves its settings as a class of its own beside the weights: refused by weights_only, so it is named.
        try:
            whole = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{path}: not a file of weights only ({' '.join(str(error).split())[:120]}); save its tensors alone: "
                "torch.save({'net': checkpoint['net']}, 'weights.pth')"
            ) from error
    for key in ("net", "state_dict", "model"):
        if isinstance(whole, Mapping) and isinstance(whole.get(key), Mapping):
            whole = whole[key]
            break
    state = {str(key): value for key, value in whole.items() if isinstance(value, Tensor)}
    if prefix is None:
        ends = [key for key in state if key.endswith("quantizer.codebook")]
        prefix = ends[0].removesuffix("quantizer.codebook") if len(ends) == 1 else ""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _in_order(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Tensors under `start`, in the order of the layers' numbers, weight before bias."""

    def place(name: str) -> list[tuple[int, str]]:
        return [(int(n), "") if n.isdigit() else (10**6, n) for n in re.split(r"\.", name.replace("weight", "0weight"))]

    names = [key.removeprefix(start) for key in state if key.startswith(start)]
    return {name: state[f"{start}{name}"] for name in sorted(names, key=place)}


def _config(path: str | Path, convs: Mapping[str, Mapping[str, Tensor]], codebook: Tensor) -> PoseTokenizerConfig:
    encoder = list(convs["encoder"].values())
    strided = [tensor.shape[2] for tensor in encoder if tensor.ndim == 3].index(4)  # the one halving convolution
    doublings = strided - 2  # before it: the entrance, the resize to 40, and one convolution per doubling
    residual = sum(tensor.ndim == 3 and tensor.shape[2] == 1 for tensor in encoder)
    if doublings < 0 or encoder[0].shape[1] != 6:
        raise ValueError(f"{path}: the encoder is not the published design (6D rotations in, one halving convolution)")
    # No weight depends on the number of joints (21 and 22 both become 40 vectors); TokenHMR nests its blocks deeper.
    nested = any(re.match(r"encoder\.\d+\.\d+\.(weight|bias)", name) for name in convs["encoder"])
    return PoseTokenizerConfig(
        design="conv",
        quantizer="ema",
        num_pose_tokens=20 * 2**doublings,
        codebook_size=codebook.shape[0],
        code_width=codebook.shape[1],
        hidden_size=encoder[0].shape[0],
        num_layers=residual,
        num_joints=21 if nested else 22,
        rot6d_layout="rows",
    )
