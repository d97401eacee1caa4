"""XML that is not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etude.adapters.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ENTITY = "<!ENTITY"
"""What entities are defined with; a file of a kilobyte can define one of gigabytes."""


def read_xml(path: Path) -> Element:
    """The root of an XML file. Raises :class:`UserError` for a faulty one and for one that defines entities."""
    from xml.etree import ElementTree

    content = path.read_bytes()
    if any(ENTITY.encode(encoding) in content for encoding in ("utf-8", "utf-16-le", "utf-16-be")):
        raise UserError("defines XML entities, which no program does that writes such files", fix="save it again there")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter: an encoding that there is not
        raise UserError(f"is faulty XML: {error}", fix="save it again in the program that wrote it") from None
