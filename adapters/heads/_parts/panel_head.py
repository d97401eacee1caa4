"""What heads share that a :class:`Panel` judges for: when there is one, what it reads, and how it learns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from etude.adapters.backbones import Backbone
from etude.adapters.errors import UserError
from etude.adapters.heads import Example, Head
from etude.adapters.heads._parts.panel import SPECTRUM, Panel
from etude.adapters.heads._parts.reach import UNKNOWN


class PanelHead(Head):
    """A head whose ``statistics`` hold ``panel`` where one judges."""

    fitted: ClassVar[str] = "panel."

    def __init__(self, config: Any, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__(config, labels, hidden_size, statistics)
        self.panel: Panel | None = None
        """There from :meth:`bind` on, where one judges."""
        self.names_unknown = False
        """Whether what is unlike everything in training is called so."""

    @property
    def judged(self) -> bool:
        """Whether a panel judges."""
        return "panel" in self.statistics

    def bind(self, backbone: Backbone) -> None:
        """See :class:`Head`."""
        if self.judged:
            self.backbone_rate = backbone.frame_rate
            self.panel = Panel(self.statistics["panel"], len(self.labels), backbone.hidden_size, backbone.num_blocks)

    @property
    def reads(self) -> tuple[int, ...]:
        """See :class:`Head`."""
        return () if self.panel is None else self.panel.layers

    @property
    def hears(self) -> tuple[str, ...]:
        """See :class:`Head`."""
        return () if self.panel is None else (SPECTRUM,)

    @property
    def learns_from(self) -> tuple[str, ...]:
        """See :class:`Head`: what else a head hears, only prediction needs."""
        return () if self.panel is None else (SPECTRUM,)

    def start_from(self, statistics: Mapping[str, Any], fitted: Mapping[str, Tensor]) -> None:
        """See :class:`Head`: the panel votes together with the older one."""
        if self.panel is not None and statistics.get("panel"):
            self.panel.start_from(statistics["panel"], fitted)
            self.statistics["panel"] = self.panel.statistics

    def fit(self, examples: Iterable[Example]) -> None:
        """See :class:`Head`: what the panel knows."""
        if self.panel is not None:
            self.fit_panel(self.panel, examples, self.backbone_rate)
            self.statistics["panel"] = self.panel.statistics

    @abstractmethod
    def fit_panel(self, panel: Panel, examples: Iterable[Example], rate: float) -> None:
        """Let ``panel`` learn from what this head judges in ``examples``, frames at ``rate`` Hz."""

    def name_unknown(self) -> None:
        """See :class:`Head`."""
        check_tells_unknown(self.panel, self.labels)
        self.names_unknown = True


def check_tells_unknown(panel: Panel | None, labels: Sequence[str]) -> None:
    """Raise :class:`UserError` where a head of these ``labels`` cannot, or must not, call anything unknown."""
    if panel is None or not panel.tells_unknown:
        fix = "train it again, with notes or clips judged as a whole (judge: notes, size: panel)"
        raise UserError("does not know what is unlike its training data", fix=fix)
    if UNKNOWN in labels:
        raise UserError(f"has a class called '{UNKNOWN}' of its own", fix="call that class something else, and train again")
