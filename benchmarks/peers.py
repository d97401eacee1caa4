"""The systems that etude is measured against, each as its documentation shows it.

All of them start from the very weights, heads, windows and labels of a workload, and give etude's logits before the first step
(:func:`check`). The backbone is transformers' own model with its own forward pass. No dropout, layerdrop or SpecAugment is on
in any backbone: it would cost the peers time and blur the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from setup import BATCH, Workload, cpu_accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from etude.adapters.heads import Context, Head
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.states.window_set import WindowSet

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Tagger(nn.Module):
    """A transformers model, the softmax-weighted sum of its hidden states (S3PRL's featuriser) and the heads."""

    def __init__(self, backbone: nn.Module, heads: nn.ModuleDict, layers: int, frozen: bool) -> None:
        super().__init__()
        self.backbone, self.heads, self.frozen = backbone, heads, frozen
        self.weights = nn.Parameter(torch.ones(layers))

    def forward(self, inputs: Tensor) -> dict[str, dict[str, Tensor]]:
        """Normalised waveforms or log-mel -> logits ``[batch, frames, classes]`` by head and output."""
        with torch.no_grad() if self.frozen else nullcontext():
            states = self.backbone(inputs, output_hidden_states=True).hidden_states
        mixed = torch.stack([share * state for share, state in zip(self.weights.softmax(0), states, strict=True)]).sum(0)
        return {name: head(Context(mixed)) for name, head in self.heads.items()}


class Peer:
    """A training loop as in accelerate's documentation, on PyTorch's ``DataLoader``; AdamW over what is trainable."""

    def __init__(
        self,
        workload: Workload,
        adapt: Callable[[nn.Module], nn.Module],
        frozen: bool = False,
        optimizer: Optimizer = torch.optim.AdamW,
        clip: float | None = None,
    ) -> None:
        self.source, self.clip, self.accelerator = workload.model(workload.recipe(0)), clip, cpu_accelerator()
        self.windows = WindowSet(workload.tracks, self.source.backbone, None)
        backbone = adapt(self.source.backbone.model.requires_grad_(not frozen))
        model = Tagger(backbone, self.source.heads, self.source.backbone.num_blocks + 1, frozen).train()
        if frozen:
            backbone.eval()
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        positions: Any = range(len(self.windows))
        loader: DataLoader[Any] = DataLoader(positions, BATCH, shuffle=True, collate_fn=self.batch)
        self.model, self.optimizer, self.loader = self.accelerator.prepare(model, optimizer(self.trained), loader)
        self._endless = self._batches()

    def batch(self, positions: list[int]) -> tuple[Tensor, dict[str, Any]]:
        """Windows decoded and normalised, and their targets, by etude's own code."""
        audio, lengths = self.windows.audio(positions)
        return self.source.backbone.prepare(audio, lengths), self.windows.targets(
            [range(p, p + 1) for p in positions], heads_of(self.source)
        )

    def _batches(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def step(self) -> None:
        """One optimizer step on the next batch."""
        self._update(*next(self._endless))

    def epoch(self) -> None:
        """One pass over all windows."""
        for inputs, targets in self.loader:
            self._update(inputs, targets)

    def _update(self, inputs: Tensor, targets: dict[str, Any]) -> None:
        self.optimizer.zero_grad()
        loss = total_loss(heads_of(self.source), self.model(inputs), targets)
        self.accelerator.backward(loss)
        if self.clip is not None:
            self.accelerator.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()


def plain_peft(workload: Workload, blocks: int) -> Peer:
    """``get_peft_model`` and nothing else: rank 8 on the queries and values of the last ``blocks`` blocks."""
    return Peer(workload, partial(add_lora, blocks=blocks))


def peft_cnn_frozen(workload: Workload, blocks: int) -> Peer:
    """The same after what transformers' ``freeze_feature_encoder()`` does to the convolutions."""
    return Peer(workload, lambda model: add_lora(freeze_cnn(model), blocks))


def full_fine_tuning(workload: Workload) -> Peer:
    """MERTech's released configuration: the CNN frozen, all else trained by SGD with momentum, gradients clipped at 3."""
    sgd = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=1e-4)
    return Peer(workload, freeze_cnn, optimizer=sgd, clip=3.0)


def frozen_backbone(workload: Workload) -> Peer:
    """A probe: the whole backbone runs without gradients at every step; mix and heads are trained."""
    return Peer(workload, lambda model: model, frozen=True)


def add_lora(model: nn.Module, blocks: int) -> nn.Module:
    """The model wrapped by peft."""
    count = sum(name.endswith(".q_proj") for name, _ in model.named_modules())
    last = list(range(count - blocks, count))
    config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], layers_to_transform=last, layers_pattern="layers")
    wrapped: nn.Module = get_peft_model(model, config)
    return wrapped


def freeze_cnn(model: Any) -> Any:
    """Freeze the convolutions before the transformer."""
    if hasattr(model, "feature_extractor"):
        model.feature_extractor._freeze_parameters()
    else:  # Whisper's two have no method of their own
        model.conv1.requires_grad_(False)
        model.conv2.requires_grad_(False)
    return model


def graph_reaches_cnn(peer: Peer) -> bool:
    """Whether the backward pass runs through the convolutions.

    In training mode, transformers' HuBERT makes the waveform require gradients, whatever peft has frozen, unless its feature
    encoder was frozen by its own method.
    """
    first = next(module for module in peer.model.backbone.modules() if isinstance(module, nn.Conv1d))
    reached: list[bool] = []
    hook = first.register_forward_hook(lambda module, inputs, output: reached.append(output.requires_grad))
    peer.model(peer.batch([0])[0])
    hook.remove()
    return reached[0]


@torch.no_grad()
def check(peer: Peer, model: AdaptedModel, same_size: bool = True) -> None:
    """Fail unless the untrained ``peer`` gives the logits of the untrained ``model`` and has as many trained parameters."""
    audio, lengths = peer.windows.audio([0])
    modes = [(module, module.training) for module in (*peer.model.modules(), *model.modules())]
    peer.model.eval()
    model.eval()
    theirs, ours = peer.model(peer.batch([0])[0]), model(model.frozen_states(audio, lengths)).logits
    for module, mode in modes:
        module.training = mode
    for head, outputs in ours.items():
        for name, logits in outputs.items():
            torch.testing.assert_close(theirs[head][name], logits, rtol=1e-4, atol=1e-5)
    counts = sum(parameter.numel() for parameter in peer.trained), sum(model.trainable_counts().values())
    if same_size and counts[0] != counts[1]:
        raise AssertionError(f"the peer trains {counts[0]} parameters, etude {counts[1]}")


class LowRank(nn.Module):
    """LoRA in two lines of PyTorch."""

    def __init__(self, linear: Any, rank: int = 8) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape ``[..., in]`` -> ``[..., out]``."""
        output: Tensor = self.linear(x) + self.up(self.down(x))
        return output


def floor(workload: Workload, blocks: int) -> Callable[[], None]:
    """What no engine can go below: forward and backward of the adapted blocks, the mix and the heads in plain PyTorch.

    The states wait in memory in fp32; no data, no targets to build, no optimizer.
    """
    model = workload.model(workload.recipe(0)).train()
    backbone, count = model.backbone, model.backbone.num_blocks
    for index in range(count - blocks, count):
        for site in ("attn.q", "attn.v"):
            path = backbone.sites[f"blocks.{index:02d}.{site}"]
            backbone.model.set_submodule(path, LowRank(backbone.model.get_submodule(path)))
    states = torch.randn(count - blocks + 1, BATCH, backbone.frames_per_window, backbone.hidden_size)
    weights = nn.Parameter(torch.ones(count + 1))
    targets = WindowSet(workload.tracks, backbone, None).targets([range(BATCH)], heads_of(model))

    def step() -> None:
        shares = weights.softmax(0)
        state, mixed = states[-1], torch.tensordot(shares[: len(states)], states, dims=1)
        for index, share in enumerate(shares[len(states) :], start=count - blocks):
            state = backbone.block(index, state)
            mixed = mixed + share * state
        logits = {name: head(Context(mixed)) for name, head in model.heads.items()}
        total_loss(heads_of(model), logits, targets).backward()  # type: ignore[no-untyped-call]
        for parameter in (weights, *model.parameters()):
            parameter.grad = None

    return step


def heads_of(model: AdaptedModel) -> dict[str, Head]:
    """The heads by name."""
    return cast(dict[str, Head], dict(model.heads.items()))


def total_loss(heads: Mapping[str, Head], logits: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
    """The sum of all heads' loss terms."""
    terms = [term for name, head in heads.items() for term in head.loss(logits[name], targets[name]).values()]
    return torch.stack(terms).sum()
