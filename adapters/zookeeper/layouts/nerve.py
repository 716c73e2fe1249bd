"""Airbnb's Nerve (SmartStack): a directory of nodes `{id}_{sequence}` whose JSON has host, port and name.

With path encoding the JSON is in the name: `base64_{length}_{url-safe base64}_{sequence}`.
"""

import base64
import binascii
import re
from collections.abc import Iterable

from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts import fields
from meshbridge.adapters.zookeeper.layouts.directory import DirectoryLayout, is_leaf_with_content
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Node, Tree, leaf
from meshbridge.schemas.registry import Health, Instance, Note, Port, labels

_ENCODED = re.compile(r"base64_([0-9]{1,7})_")
_SUFFIX = "/services"


class Nerve(DirectoryLayout):
    """A directory is a service; a last `/services` in its path is no part of the name."""

    name = "nerve"

    @override
    def service(self, directory: str) -> str:
        return super().service(directory).removesuffix(_SUFFIX)

    @override
    def directories(self, service: str) -> tuple[str, ...]:
        return (*super().directories(service), service + _SUFFIX)

    @override
    def record_id(self, path: str) -> str:
        name = leaf(path)
        # The sequence is unique in its directory; the base64 text is no name for people.
        return f"base64_{name.rpartition('_')[2]}" if is_encoded(name) else name

    @override
    def is_record(self, path: str, node: Node, tree: Tree) -> bool:
        return is_encoded(leaf(path)) or is_leaf_with_content(path, node, tree)

    @override
    def read(self, path: str, node: Node, tree: Tree) -> tuple[Instance, Iterable[Note]]:
        name = leaf(path)
        record = fields.decoded(_json_of(name) if is_encoded(name) else node.data)
        if not fields.word(record.get("name")):
            raise Refused("it has no name")
        given = record.get("weight")
        weight = fields.weight(given)
        if given is not None and weight is None:
            raise Refused(f"weight {fields.shown(given)} is not a whole number from 0 up")
        told = fields.metadata(fields.mapping(record.get("labels")))
        rest = fields.metadata((key, record.get(key)) for key in ("name", "haproxy_server_options"))
        instance = Instance(
            id=self.record_id(path),
            address=fields.address(record.get("host")),
            ports=(Port("", fields.port(record.get("port"))),),
            labels=fields.mesh_labels({"version": told.get("version", "")}),
            metadata=labels({**told, **rest}),
            locality=fields.locality(told),
            weight=weight,
            # A persistent node says nothing of whether its instance lives.
            health=Health.READY if node.ephemeral else Health.UNKNOWN,
        )
        return instance, ()


def is_encoded(name: str) -> bool:
    """Tell whether the name of a node holds its record."""
    return _ENCODED.match(name) is not None


def _json_of(name: str) -> bytes:
    match = _ENCODED.match(name)
    text = name[match.end() : match.end() + int(match[1])] if match else ""
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"its name is no base64: {error}") from error
