"""Istio's ServiceEntry, WorkloadEntry and WorkloadGroup, in the YAML or JSON that `kubectl` takes.

Reading gives resources; `istio_join` makes instances of those of one namespace, because a WorkloadEntry and
the ServiceEntry that selects it often stand in different documents.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from meshbridge.adapters.inventory.formats import checks
from meshbridge.adapters.inventory.formats.checks import Reason, Refused
from meshbridge.adapters.inventory.formats.native import unknown_key
from meshbridge.adapters.inventory.formats.record import Collector, Configured, Parsed
from meshbridge.adapters.inventory.formats.text import place
from meshbridge.schemas.istio import ServiceEntry, Spec, WorkloadEntry, WorkloadGroup
from meshbridge.schemas.registry import labels

_API = "networking.istio.io/"
_KINDS: Mapping[str, type[Spec]] = {
    "ServiceEntry": ServiceEntry,
    "WorkloadEntry": WorkloadEntry,
    "WorkloadGroup": WorkloadGroup,
}
# What the API means where these are left out.
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "ServiceEntry": {"location": "MESH_EXTERNAL", "resolution": "NONE"},
}


def parse(documents: Iterable[object], document: str) -> Parsed:
    """Return the resources of the documents of one file; lists are unpacked, other kinds are remarked on."""
    found = Collector(document)
    for where, item in _items(documents, document):
        try:
            _resource(item, where, found)
        except Refused as error:
            found.refuse(where, error, "", _identity(item))
    return found.parsed()


def _items(documents: Iterable[object], document: str) -> Iterator[tuple[str, object]]:
    for index, root in enumerate(documents):
        is_list = isinstance(root, Mapping) and str(root.get("kind")).endswith("List")
        items = root.get("items") if isinstance(root, Mapping) and is_list else [root]
        for number, item in enumerate(items if isinstance(items, list) else []):
            position = f"items[{number}]" if is_list else f"document {index + 1}"
            yield place(document, item, position), item


def _identity(item: object) -> tuple[str, ...]:
    if isinstance(item, Mapping) and isinstance(item.get("metadata"), Mapping):
        metadata = item["metadata"]
        names = (checks.as_text(metadata.get(key)) for key in ("namespace", "name"))
        return (f"{item.get('kind')} {'/'.join(names)}",)
    return ()


def _resource(item: object, where: str, found: Collector) -> None:
    if not isinstance(item, Mapping):
        raise Refused(Reason.FIELD, f"a resource is a mapping, not {checks.shown(item)}")
    kind = checks.as_text(item.get("kind"))
    if kind not in _KINDS or not checks.as_text(item.get("apiVersion")).startswith(_API):
        shown = f"{checks.shown(item.get('apiVersion'))} {checks.shown(item.get('kind'))}"
        found.remark(where, Reason.UNKNOWN_KIND, f"{shown} is not one of {', '.join(_KINDS)}")
        return
    metadata = _mapping(item.get("metadata"), "metadata")
    spec = _without_nulls({**_DEFAULTS.get(kind, {}), **_mapping(item.get("spec"), "spec")})
    name = checks.word(metadata.get("name"), "metadata.name")
    namespace = checks.word(metadata.get("namespace"), "metadata.namespace")
    if not name:
        raise Refused(Reason.FIELD, "metadata.name is missing")
    try:
        converted: Spec = msgspec.convert(spec, _KINDS[kind])
    except msgspec.ValidationError as error:
        raise Refused(Reason.FIELD, f"{kind} {name}: {str(error).replace('$', 'spec')}") from error
    if isinstance(converted, WorkloadEntry):
        checks.address(converted.address)
    subject = service_name(name, namespace) if kind == "ServiceEntry" else ""
    for path, key, known in unknown_keys(spec, msgspec.inspect.type_info(_KINDS[kind]), "spec"):
        text = f"{kind} {name}: {unknown_key(key, known, f'key in {path}')}"
        found.remark(where, Reason.UNKNOWN_KEY, text, subject)
    found.keep(
        Configured(
            kind,
            namespace,
            name,
            converted,
            where,
            found.document,
            labels(_texts(metadata.get("labels"))),
            labels(_texts(metadata.get("annotations"))),
        )
    )


def service_name(name: str, namespace: str) -> str:
    """Return what a service is called among all namespaces, where equal names are different services."""
    return f"{name}.{namespace}" if namespace else name


def unknown_keys(
    value: object, kind: msgspec.inspect.Type, path: str
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield path, key and known keys for each key that a type does not have."""
    match kind:
        case msgspec.inspect.StructType(fields=fields) if isinstance(value, Mapping):
            types = {field.encode_name: field.type for field in fields}
            for key, item in value.items():
                if key in types:
                    yield from unknown_keys(item, types[key], f"{path}.{key}")
                else:
                    yield path, str(key), sorted(types)
        case msgspec.inspect.VarTupleType(item_type=item_type) if isinstance(value, list):
            for index, item in enumerate(value):
                yield from unknown_keys(item, item_type, f"{path}[{index}]")
        case msgspec.inspect.UnionType(types=types_of_union):
            for member in types_of_union:
                yield from unknown_keys(value, member, path)


def _mapping(value: object, field: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise Refused(Reason.FIELD, f"{field} is a mapping, not {checks.shown(value)}")
    return {str(key): item for key, item in value.items()}


def _texts(value: object) -> dict[str, str]:
    items = value.items() if isinstance(value, Mapping) else ()
    return {str(key): checks.as_text(item) for key, item in items}


def _without_nulls(value: object) -> object:
    """Return the value without its nulls, which mean "not set" in Kubernetes."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
