"""Low-rank adapters through peft: LoRA (Hu et al. 2021), DoRA (Liu et al. 2024) and IA3 (Liu et al. 2022).

peft injects its layers into the backbone in place; tensors leave this file under canonical names only
(``blocks.07.attn.q.lora_A``), because module paths change between library releases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from etude.adapters.backbones import Backbone
from etude.adapters.errors import UserError
from etude.adapters.methods import Method, MethodConfig
from etude.adapters.methods._parts.site_update import SiteUpdate

TENSORS = {"lora": ("lora_A", "lora_B"), "dora": ("lora_A", "lora_B", "lora_magnitude"), "ia3": ("ia3_l",)}
"""What each variant trains at a site: ``lora_A`` ``[rank, in]``, ``lora_B`` ``[out, rank]``, ``lora_magnitude`` ``[out]``, and
``ia3_l`` ``[out, 1]``, in the feed-forward part ``[1, in]``."""


def _all_or_last(text: str) -> str:
    if not re.fullmatch("all|last [1-9][0-9]*", text):
        raise ValueError("should be 'all' or 'last N'")
    return text


LastBlocks = Annotated[str, AfterValidator(_all_or_last)]


class LoraConfig(MethodConfig):
    """Which sites of which blocks are adapted, and how."""

    name: Literal["lora"] = "lora"
    variant: Literal["lora", "dora", "ia3"] = "lora"
    """LoRA, DoRA, or IA3, which has no rank."""
    rank: int = Field(8, ge=1)
    """Inner size of the update."""
    alpha: float = Field(8.0, gt=0)
    """The update is scaled by ``alpha / rank``."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of what enters the update."""
    sites: tuple[str, ...] = Field(("attn.q", "attn.v"), min_length=1)
    """Site names without their block: ``attn.q``, ``attn.k``, ``attn.v``, ``attn.out``, ``ffn.in``, ``ffn.out``."""
    blocks: LastBlocks | tuple[int, ...] = "all"
    """``all``, ``last N``, or a list of block indices from 0."""


class Lora(Method):
    """Trains two low-rank matrices (or one scaling vector, IA3) beside each chosen linear layer."""

    Config: ClassVar[type[MethodConfig]] = LoraConfig
    config: LoraConfig

    def __init__(self, config: LoraConfig) -> None:
        super().__init__(config)
        self._parameters: dict[str, nn.Parameter] = {}
        self._dropouts: list[nn.Module] = []

    def _blocks(self, backbone: Backbone) -> list[int]:
        chosen, count = self.config.blocks, backbone.num_blocks
        if chosen == "all":
            return list(range(count))
        if isinstance(chosen, str):
            return list(range(max(0, count - int(chosen.removeprefix("last "))), count))
        if wrong := [index for index in chosen if not 0 <= index < count]:
            raise UserError(
                f"{backbone.id} has no block {wrong[0]}", where="method.blocks", fix=f"blocks are 0 to {count - 1}, or 'last N'"
            )
        return sorted(set(chosen))

    def sites(self, backbone: Backbone) -> list[str]:
        """The canonical sites to adapt. Raises :class:`UserError` with the candidates when a site name matches nothing."""
        blocks = self._blocks(backbone)
        candidates = sorted({site.split(".", 2)[2] for site in backbone.sites})
        if unknown := [site for site in self.config.sites if site not in candidates]:
            raise UserError(
                f"{backbone.id} has no site '{unknown[0]}'", where="method.sites", fix=f"its sites are {', '.join(candidates)}"
            )
        return [f"blocks.{block:02d}.{site}" for block in blocks for site in self.config.sites]

    def first_block(self, backbone: Backbone) -> int:
        """The lowest adapted block."""
        return min(self._blocks(backbone), default=backbone.num_blocks)

    def attach(self, backbone: Backbone) -> None:
        """Inject peft's layers. Raises :class:`UserError` when no site matches."""
        from peft import inject_adapter_in_model

        paths = {site: backbone.sites[site] for site in self.sites(backbone)}
        if not paths:
            raise UserError("no block to adapt", where="method.blocks", fix=f"{backbone.id} has {backbone.num_blocks} blocks")
        base = {id(parameter) for parameter in backbone.model.parameters()}
        inject_adapter_in_model(self._peft_config(paths), backbone.model)
        for site, path in paths.items():
            layer = backbone.model.get_submodule(path)
            for name, parameter in layer.named_parameters():
                if id(parameter) not in base:
                    short = name.removesuffix(".weight").removesuffix(".default").removesuffix("_vector")
                    parameter.requires_grad_(True)
                    self._parameters[f"{site}.{short}"] = parameter
            if dropout := getattr(layer, "lora_dropout", None):
                self._dropouts.append(dropout)
        backbone.exclude_from_fingerprint(self._parameters.values())
        backbone.eval()

    def _peft_config(self, paths: dict[str, str]) -> Any:
        from peft import IA3Config
        from peft import LoraConfig as PeftLoraConfig

        target = "|".join(re.escape(path) for path in paths.values())
        if self.config.variant == "ia3":
            feedforward = "|".join(re.escape(path) for site, path in paths.items() if ".ffn." in site)
            return IA3Config(target_modules=target, feedforward_modules=feedforward or [])
        return PeftLoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            use_dora=self.config.variant == "dora",
            target_modules=target,
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by canonical name; empty before :meth:`attach`."""
        return dict(self._parameters)

    def site_updates(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, SiteUpdate]:
        """See :class:`Method`. The same as peft's layers compute, without importing peft."""
        updates = {}
        for site in self.sites(backbone):
            linear = backbone.model.get_submodule(backbone.sites[site])
            assert isinstance(linear, nn.Linear)
            names = [f"{site}.{short}" for short in TENSORS[self.config.variant]]
            found = [tensors[name].to(linear.weight) for name in names if name in tensors]
            expected = self._shapes(site, linear)
            if [tensor.shape for tensor in found] != expected:
                raise UserError(f"the adapter's tensors do not fit this backbone at '{site}'", fix="use its own recipe")
            updates[site] = self._update(site, linear, found)
        return updates

    def _shapes(self, site: str, linear: nn.Linear) -> list[tuple[int, ...]]:
        rank, inputs, outputs = self.config.rank, linear.in_features, linear.out_features
        if self.config.variant == "ia3":
            return [(1, inputs) if ".ffn." in site else (outputs, 1)]
        return [(rank, inputs), (outputs, rank), *([(outputs,)] if self.config.variant == "dora" else [])]

    def _update(self, site: str, linear: nn.Linear, tensors: list[Tensor]) -> SiteUpdate:
        if self.config.variant == "ia3":
            gain = tensors[0].flatten()
            return SiteUpdate(gain_in=gain) if ".ffn." in site else SiteUpdate(gain_out=gain)
        down, up, *magnitude = tensors
        up = up * (self.config.alpha / self.config.rank)
        if not magnitude:
            return SiteUpdate(down=down, up=up)
        gain = magnitude[0] / torch.linalg.vector_norm(linear.weight + up @ down, dim=1)
        # DoRA rescales the weight alone, not the bias.
        shift = None if linear.bias is None else (1 - gain) * linear.bias
        return SiteUpdate(down=down, up=gain[:, None] * up, gain_out=gain, shift=shift)

    def train(self, mode: bool) -> None:
        """Only LoRA's own dropout ever leaves ``eval()``."""
        for dropout in self._dropouts:
            dropout.train(mode)
