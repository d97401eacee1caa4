"""What is trained: an adapted model, and the regularizers that ask something of it in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from etude.adapters.errors import UserError
from etude.adapters.heads import Context
from etude.adapters.model.adapted import AdaptedModel, Stored
from etude.adapters.model.reader import Logits
from etude.adapters.model.spans import Run
from etude.adapters.regularizers import Regularizer

PREFIX = "regularizers."
"""How the names of their tensors begin in a checkpoint."""


class Objective(nn.Module):
    """One module of both, so that several processes average the gradients of both.

    Raises :class:`UserError` for a regularizer that reads what is not there, and beside heads that are shown several windows.
    """

    def __init__(self, model: AdaptedModel, regularizers: Mapping[str, Regularizer]) -> None:
        super().__init__()
        self.model, self.regularizers = model, nn.ModuleDict(regularizers).to(model.device)
        shown = [name for name, head in model.reader.heads_by_name.items() if head.span != "window"]
        if regularizers and shown:
            what = f"regularizers read single windows, and the head '{shown[0]}' is shown several at a time"
            raise UserError(what, where="regularizers", fix="leave one of them out")
        model.also_read({state for regularizer in regularizers.values() for state in regularizer.reads})

    def forward(
        self, stored: Stored | Callable[[range], Stored], runs: Sequence[Run] | None, mask: Tensor | None
    ) -> tuple[Logits, dict[str, Tensor]]:
        """As the model's own, with ``mask`` as regularizers read it: logits, and the weighted losses of the regularizers."""
        context, logits = self.model(stored, runs)
        return logits, {} if mask is None else self._terms(context, mask)

    def _terms(self, context: Context, mask: Tensor) -> dict[str, Tensor]:
        with torch.autocast(mask.device.type, enabled=False):
            exact = Context(context.mixed.float(), {layer: state.float() for layer, state in context.states.items()})
            named = cast(dict[str, Regularizer], dict(self.regularizers.items()))
            return {
                f"{name}_regularizer": regularizer.config.weight * regularizer.loss(exact, {}, mask)
                for name, regularizer in named.items()
            }

    def trained(self) -> list[nn.Parameter]:
        """Every parameter that is trained step by step."""
        trained = [parameter for _, parameter in self.model.named_trainable() if parameter.requires_grad]
        return [*trained, *self.regularizers.parameters()]

    def state(self) -> dict[str, Tensor]:
        """Copies of what a checkpoint keeps, on the CPU."""
        own = {f"{PREFIX}{name}": value.detach().cpu().clone() for name, value in self.regularizers.state_dict().items()}
        return {**self.model.trainable_state(), **own}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy what :meth:`state` gave in place."""
        own = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        self.regularizers.load_state_dict(own)
        self.model.load_trainable({name: value for name, value in state.items() if not name.startswith(PREFIX)})
