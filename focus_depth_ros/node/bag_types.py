"""Message definitions for bags: this environment's, and those of rosbags where it has none."""

from __future__ import annotations

import importlib
from typing import Any

from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from focus_depth_ros.node.transport import shared_file


def typestore_for(types: list[str]) -> Typestore:
    """A rosbags typestore that knows `types` ("package/msg/Name") and all that they contain.

    A message may have other fields in another distribution, so what is installed here counts.
    Raises FileNotFoundError for a type that neither this environment nor rosbags has.
    """
    found: Typesdict = {}
    missing = list(types)
    while missing:
        name = missing.pop()
        if name not in found:
            definitions = _definitions(name)
            found.update(definitions)
            missing += _referenced(definitions)
    store = get_typestore(Stores.EMPTY)
    store.register(found)
    return store


def _definitions(name: str) -> Typesdict:
    package, kind, message = name.split('/')
    try:
        text = shared_file(f'{kind}/{message}.msg', package).read_text(encoding='utf-8')
    except FileNotFoundError:
        known = get_typestore(Stores.ROS2_HUMBLE).fielddefs
        if name not in known:
            raise
        return {name: known[name]}
    return get_types_from_msg(text, name)


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
