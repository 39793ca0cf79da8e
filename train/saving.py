"""Getting a model's weights out of training: all of them for later stages, the trained ones for a checkpoint."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import Trainer


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters and saved buffers (averages, codebooks), each storage once."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    state = model.state_dict()
    return {name: state[name].contiguous() for name in state if name in trainable or name not in parameters}


def bare_model(trainer: Trainer) -> nn.Module:
    """The model without what DDP, DeepSpeed or torch.compile put around it."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)  # pyright: ignore[reportArgumentType]
    return model


def save_with(save: Callable[[nn.Module, Path], None] | None, model: nn.Module, folder: Path) -> None:
    """By the job's own function, or as transformers models save themselves."""
    if save is not None:
        save(model, folder)
        return
    writer: Any = model
    writer.save_pretrained(folder)


@contextmanager
def whole_model(trainer: Trainer, rebuild: Callable[[], nn.Module]) -> Generator[nn.Module, None, None]:
    """The bare model with all its weights in place; every process enters, the first one saves."""
    model = bare_model(trainer)
    if trainer.is_fsdp_enabled:
        # Sharded parameters cannot be put back in place: a fresh copy on the first process takes the gathered weights.
        state: Any = trainer.accelerator.get_state_dict(trainer.model)
        if trainer.args.should_save:
            model = rebuild()
            model.load_state_dict(state, strict=False)
        yield model
    elif trainer.is_deepspeed_enabled and any(hasattr(p, "ds_id") for p in model.parameters()):
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(model.parameters())):
            yield model
    else:
        yield model
