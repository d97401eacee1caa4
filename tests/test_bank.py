"""Many adapters beside one backbone: each computes what peft computes, in batches of any mixture, and none leaves a trace."""

import pytest
import torch
from registered import WITH_BLOCKS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from etude.adapters import registry
from etude.adapters.model import compiled
from etude.adapters.model.bank import AdapterBank, BankedLinear

ADAPTERS = {
    "lora": {"rank": 2, "alpha": 6},
    "wide": {"rank": 8, "sites": ("attn.q", "ffn.in")},
    "last": {"rank": 3, "blocks": "last 1", "sites": ("attn.v", "attn.out")},
    "dora": {"variant": "dora", "rank": 4, "sites": ("attn.k", "attn.v", "ffn.out")},
    "ia3": {"variant": "ia3", "sites": ("attn.k", "ffn.in", "ffn.out")},
}
"""They share some sites and not others; Whisper's attn.k has no bias."""


def make_backbone(name="mert"):
    kind = registry.find("backbones", name)
    return kind(kind.Config(name=name, weights="random:tiny", window=0.4))


def make_method(fields):
    kind = registry.find("methods", "lora")
    return kind(kind.Config(name="lora", **fields))


def attached(backbone_name, fields):
    """A backbone with peft's layers and random trained tensors, and these tensors by artifact name."""
    backbone, method = make_backbone(backbone_name), make_method(fields)
    torch.manual_seed(len(str(fields)))  # peft's own start is random too
    method.attach(backbone)
    with torch.no_grad():
        for parameter in method.parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return backbone, {name: parameter.detach().clone() for name, parameter in method.parameters().items()}


def windows(backbone, count=4):
    audio = torch.randn(count, backbone.window_samples, generator=torch.Generator().manual_seed(1))
    return backbone.prepare(audio, torch.full((count,), backbone.window_samples))


def close(found, expected):
    """Equal to 1e-5 of the largest value, state by state."""
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def filled(backbone_name, names=tuple(ADAPTERS)):
    """A bank, and the states that peft computes with each adapter (``None``: without any)."""
    backbone = make_backbone(backbone_name)
    bank, prepared = AdapterBank(backbone), windows(backbone)
    expected = {None: backbone(prepared)}
    for name in names:
        peft, tensors = attached(backbone_name, ADAPTERS[name])
        expected[name] = [state.detach() for state in peft(prepared)]
        bank.add(name, make_method(ADAPTERS[name]).site_updates(backbone, tensors))
    return bank, expected


@pytest.fixture(scope="module", params=WITH_BLOCKS)
def full(request):
    return filled(request.param)


@pytest.mark.parametrize("name", ADAPTERS)
def test_each_adapter_computes_what_peft_does(full, name):
    bank, expected = full
    bank.select(name)
    states = bank.backbone(windows(bank.backbone))
    close(states, expected[name])
    assert (states[-1] - expected[None][-1]).abs().max() > 1e-3
    bank.select(None)
    assert all(torch.equal(a, b) for a, b in zip(bank.backbone(windows(bank.backbone)), expected[None], strict=True))


@pytest.mark.parametrize(
    "names", [("lora", "wide", "lora", "dora"), ("ia3", None, "last", "dora"), ("wide",) * 4, (None, None, None, "ia3")]
)
def test_every_row_of_a_batch_has_its_own_adapter(full, names):
    bank, expected = full
    bank.select(names)
    close(
        bank.backbone(windows(bank.backbone)),
        [torch.stack([expected[name][layer][row] for row, name in enumerate(names)]) for layer in range(len(expected[None]))],
    )


def test_switching_there_and_back_changes_no_bit_and_no_stack(full):
    bank, _ = full
    prepared = windows(bank.backbone)
    stacks = {m: m.down.data_ptr() for m in bank.backbone.modules() if isinstance(m, BankedLinear) and m.down is not None}
    found = []
    for name in ("lora", "dora", "lora"):
        bank.select(name)
        found.append(bank.backbone(prepared))
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))
    assert not torch.equal(found[0][-1], found[1][-1])
    assert all(module.down.data_ptr() == place for module, place in stacks.items())


def test_names(full):
    bank, _ = full
    assert bank.names == tuple(ADAPTERS)
    with pytest.raises(KeyError):
        bank.select("nobody")
    with pytest.raises(KeyError):
        bank.remove("nobody")


@pytest.mark.parametrize("backbone_name", WITH_BLOCKS)
def test_the_backbone_keeps_its_fingerprint_and_gets_its_own_layers_back(backbone_name):
    backbone = make_backbone(backbone_name)
    fingerprint, names, modules = backbone.fingerprint(), list(backbone.state_dict()), list(backbone.modules())
    bank, prepared = AdapterBank(backbone), windows(backbone)
    for name in ("lora", "dora", "ia3"):
        _, tensors = attached(backbone_name, ADAPTERS[name])
        bank.add(name, make_method(ADAPTERS[name]).site_updates(backbone, tensors))
    assert backbone.fingerprint() == fingerprint
    assert list(backbone.state_dict()) == names
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    bank.select("dora")
    before = backbone(prepared)
    bank.remove("lora")
    bank.select("dora")
    close(backbone(prepared), before)
    bank.remove("dora")
    bank.remove("ia3")
    assert bank.names == ()
    assert all(now is before for now, before in zip(backbone.modules(), modules, strict=True))


def test_stacks_and_selection_follow_the_backbone():
    bank, expected = filled("mert", ("lora", "dora", "ia3"))
    bank.select(["lora", "ia3", "dora", "lora"])
    single = bank.backbone(windows(bank.backbone))
    double = bank.backbone.to(torch.float64)(windows(bank.backbone).double())
    assert double[-1].dtype == torch.float64
    close([state.float() for state in double], single)
    assert len(expected) == 4


class Operations(TorchDispatchMode):
    """The names of all operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_no_adapter_costs_nothing_and_one_costs_its_own_rank_only():
    rows, frames, hidden, rank = 4, 30, 48, 2
    bank, _ = filled("mert", ("lora",))
    layer = bank.backbone.model.get_submodule(bank.backbone.sites["blocks.00.attn.q"])
    x, plain = torch.randn(rows, frames, hidden), rows * frames * 2 * hidden * hidden
    for names, flops in ((None, plain), ("lora", plain + rows * frames * 2 * 2 * rank * hidden)):
        bank.select(names)
        with FlopCounterMode(display=False) as counter, Operations() as operations, torch.inference_mode():
            layer(x)
        assert counter.get_total_flops() == flops
        assert not operations.names & {"bmm", "baddbmm"}  # no copy of the factors for every row
        assert names or "index" not in operations.names


@pytest.mark.parametrize("backbone_name", WITH_BLOCKS)
def test_compiled_layers_are_shared_and_switching_compiles_nothing(backbone_name, monkeypatch):
    graphs, original = [], nn.Module.compile

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: original(self, backend=counting, **options))
    torch._dynamo.reset()
    bank, expected = filled(backbone_name, ("lora", "wide"))
    compiled.compile_blocks(bank.backbone)
    prepared = windows(bank.backbone)

    def run(names):
        bank.select(names)
        with torch.inference_mode():
            return bank.backbone(prepared)

    counts = []
    for names in (None, "lora", ["lora", "wide", "lora", "wide"]):
        run(names)
        counts.append(len(graphs))
    assert counts == [1, 2, 3]  # for all blocks together, as they are of one structure
    close(run("wide"), expected["wide"])
    close(run("lora"), expected["lora"])
    run(["wide", "lora", "wide", "wide"])
    run(None)
    bank.add("third", make_method(ADAPTERS["lora"]).site_updates(bank.backbone, attached(backbone_name, ADAPTERS["lora"])[1]))
    close(run("third"), expected["lora"])
    assert len(graphs) == 3
    torch._dynamo.reset()
