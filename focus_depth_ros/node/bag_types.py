"""Message definitions for bags: those of rosbags, and this environment's where it lacks them."""

from __future__ import annotations

import importlib
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from focus_depth_ros.node.transport import shared_file


def typestore_for(types: list[str]) -> Typestore:
    """A rosbags typestore that knows `types` ("package/msg/Name") and all that they contain.

    Raises FileNotFoundError for a type that neither rosbags nor this environment has.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    missing = [name for name in types if name not in store.fielddefs]
    found = {}
    while missing:
        name = missing.pop()
        package, kind, message = name.split('/')
        text = shared_file(f'{kind}/{message}.msg', package).read_text(encoding='utf-8')
        definitions = get_types_from_msg(text, name)
        found.update(definitions)
        for referenced in _referenced(definitions):
            if referenced not in store.fielddefs and referenced not in found:
                missing.append(referenced)
    store.register(found)
    return store


def message_class(name: str) -> Any:
    """The Python class of "package/msg/Name". Raises ValueError when it is not installed."""
    package, _, message = name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), message)
    except (ImportError, AttributeError) as error:
        raise ValueError(f'message type {name} is not installed: {error}') from error


def _referenced(definitions: object) -> set[str]:
    """Every "package/msg/Name" that occurs in rosbags' nested description of types."""
    if isinstance(definitions, str):
        return {definitions} if definitions.count('/') == 2 else set()
    if isinstance(definitions, dict):
        definitions = list(definitions.values())
    if isinstance(definitions, (list, tuple)):
        return set().union(*map(_referenced, definitions)) if definitions else set()
    return set()
