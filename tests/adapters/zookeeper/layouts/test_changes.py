"""Looking only at what a change touches gives what looking at everything gives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.zookeeper.groups import Groups
from meshbridge.adapters.zookeeper.layouts.dubbo_url import encode
from meshbridge.adapters.zookeeper.layouts.layout import Node
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.adapters.zookeeper.tree import Differences

X, Y = "com.acme.X", "com.acme.X.Y"


def process(host: str, revision: str) -> bytes:
    payload = {
        "@class": "org.apache.dubbo.registry.zookeeper.ZookeeperInstance",
        "metadata": {"dubbo.metadata.revision": revision, "dubbo.metadata.storage-type": "remote"},
    }
    return json.dumps({"address": host, "port": 20880, "payload": payload}).encode()


def revision(*services: tuple[str, str, int]) -> bytes:
    listed = [
        {"name": name, "group": group, "protocol": "dubbo", "port": port} for name, group, port in services
    ]
    return json.dumps({"services": dict(enumerate(listed))}).encode()


RULE = b"configs: [{parameters: {weight: 5}}]"
APP_RULE = b"{scope: application, configs: [{parameters: {disabled: true}}]}"
PROVIDERS = [
    f"r/{interface}/providers/{encode(f'{protocol}://10.4.0.{host}:20880/x?application=a&group={group}')}"
    for interface in (X, Y)
    for protocol in ("dubbo", "tri")
    for host, group in ((1, ""), (1, "g"), (2, "Y"))
]
DUBBO: dict[str, list[bytes]] = {
    **{path: [b""] for path in PROVIDERS},
    f"r/{X}/configurators/{encode('override://0.0.0.0/x?weight=9&group=*&version=*')}": [b""],
    f"r/{X}/configurators/{encode('override://10.4.0.1:20880/x?disabled=true')}": [b""],
    f"r/config/dubbo/{X}::.configurators": [RULE],
    f"r/config/dubbo/{X}::g.configurators": [RULE, b"configs: []"],
    "r/config/dubbo/a.configurators": [APP_RULE],
    f"r/mapping/{X}": [b"a", b"b", b"a,b"],
    f"r/mapping/{Y}": [b"a"],
    "r/metadata/a/aaaaaa": [revision((X, "", 20880), (Y, "g", 20881)), revision((X, "g", 20880))],
    "r/metadata/a/bbbbbb": [revision((X, "g", 20880)), revision((Y, "", 20880))],
    "r/metadata/b/aaaaaa": [revision((X, "", 20882))],
    "s/a/10.4.0.1:20880": [process("10.4.0.1", "aaaaaa"), process("10.4.0.1", "bbbbbb")],
    "s/a/10.4.0.3:20880": [process("10.4.0.3", "aaaaaa"), process("10.4.0.3", "0")],
    "s/b/10.4.0.4:20880": [process("10.4.0.4", "aaaaaa")],
}
# Good in every layout: what turns bad keeps its last good reading, so that the way here would matter.
RECORDS = [
    json.dumps(
        {"name": "n", "host": host, "address": host, "port": 1, "status": "ALIVE"}
        | {"serviceEndpoint": {"host": host, "port": 1}}
    ).encode()
    for host in ("10.4.0.1", "10.4.0.2")
]
VECTOR = json.dumps({"vector": [{"select": "member=member_1", "weight": 0.5}]}).encode()
DIRECTORIES: dict[str, list[bytes]] = {
    "a/member_1": RECORDS,
    "a/member_2": RECORDS,
    "a/services": [b"", b"127.0.0.1"],
    "a/services/member_1": RECORDS,
    "a/b/member_1": RECORDS,
    "member_1": RECORDS,
}
SETS = DIRECTORIES | {"a/vector_1": [VECTOR]}
# Likewise: what a live process exports stays known.
ALWAYS = [path for path in DUBBO if path.startswith("r/metadata/")]

ROOTS: dict[str, tuple[dict[str, object], dict[str, list[bytes]]]] = {
    "both": ({"path": "/r", "layout": "dubbo", "applications": "/s"}, DUBBO),
    "split": (
        {"path": "/r", "layout": "dubbo", "applications": "/s", "dubbo": {"split_protocols": True}},
        DUBBO,
    ),
    "applications": (
        {"path": "/r", "layout": "dubbo", "applications": "/s", "dubbo": {"grouping": "application"}},
        DUBBO,
    ),
    "curator": ({"path": "/svc", "layout": "curator"}, DIRECTORIES),
    "nerve": ({"path": "/svc", "layout": "nerve"}, DIRECTORIES),
    "serversets": ({"path": "/svc", "layout": "serversets"}, SETS),
    "json": ({"path": "/svc", "layout": "json"}, DIRECTORIES),
}


def put(groups: Groups, path: str, data: bytes) -> set[str] | None:
    edits = Differences()
    if groups.layout.covers(path):
        edits.put.append((path, Node(data if groups.layout.needs(path) else b"", data in RECORDS)))
    return groups.apply(edits)


def drop(groups: Groups, path: str) -> set[str] | None:
    edits = Differences()
    edits.gone.append(path)
    return groups.apply(edits)


@pytest.mark.parametrize("name", ROOTS)
@given(data=st.data())
def test_following_changes_equals_reading_everything(name: str, data: st.DataObject) -> None:
    settings, pool = ROOTS[name]
    root = RootSettings.model_validate(settings)
    followed = Groups("zk", root.make_layout(), {})
    present: dict[str, bytes] = {}
    choices = {path: [*values, *([] if path in ALWAYS else [None])] for path, values in pool.items()}
    edit = st.sampled_from(sorted(pool)).flatmap(
        lambda path: st.tuples(st.just(path), st.sampled_from(choices[path]))
    )

    # From a full tree every edit matters; from an empty one things come in any order.
    begin = sorted(pool) if data.draw(st.booleans()) else [path for path in ALWAYS if path in pool]
    for path, value in [(path, pool[path][0]) for path in begin] + data.draw(st.lists(edit, max_size=8)):
        if value is None:
            touched = drop(followed, path)
            present = {
                other: kept for other, kept in present.items() if not f"{other}/".startswith(f"{path}/")
            }
        else:
            touched = put(followed, path, value)
            present[path] = value
        for service in followed.names() if touched is None else touched:
            followed.renew(service)

    read = Groups("zk", root.make_layout(), {})
    for path, value in present.items():
        put(read, path, value)
    for service in read.names():
        read.renew(service)
    found, expected = ({group.key: group.instances for group in groups.all()} for groups in (followed, read))
    assert {key: found[key] for key in found if found[key]} == {
        key: expected[key] for key in expected if expected[key]
    }
