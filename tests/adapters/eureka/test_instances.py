import json

import msgspec
import pytest

from meshbridge.adapters.eureka import instances, traits
from meshbridge.adapters.eureka.instances import Entry, Reader
from meshbridge.adapters.eureka.payload import Record, Refused
from meshbridge.schemas.registry import Health, Port


def read(labels: tuple[str, ...] = ("version",), **fields: object) -> Entry:
    item = {"instanceId": "i", "ipAddr": "10.0.0.1", "status": "UP", "port": {"$": 80, "@enabled": "true"}}
    record = msgspec.json.decode(json.dumps({**item, **fields}), type=Record, strict=False)
    return one(Reader(labels), record)


def one(reader: Reader, record: Record | Refused) -> Entry:
    (entry,) = reader.read([record]).values()
    return entry


@pytest.mark.parametrize(
    ("status", "overridden", "health"),
    [
        ("UP", "UNKNOWN", Health.READY),
        ("UP", None, Health.READY),
        ("UP", "OUT_OF_SERVICE", Health.DRAINING),
        ("OUT_OF_SERVICE", "OUT_OF_SERVICE", Health.DRAINING),
        ("STARTING", None, Health.UNREADY),
        ("DOWN", "OUT_OF_SERVICE", Health.UNREADY),
        ("UNKNOWN", None, Health.UNREADY),
        ("SLEEPY", None, Health.UNREADY),
        (None, None, Health.UNREADY),
    ],
)
@pytest.mark.parametrize("spelling", ["overriddenStatus", "overriddenstatus"])
def test_status_decides_about_health(status, overridden, health, spelling) -> None:
    assert read(status=status, **{spelling: overridden}).instance.health is health


def test_status_that_servers_do_not_know_counts_as_unknown() -> None:
    assert read(status="SLEEPY").status == "UNKNOWN"


@pytest.mark.parametrize(
    ("ip", "host", "address"),
    [
        ("10.0.0.1", "vm.corp", "10.0.0.1"),
        ("2001:DB8::1", None, "2001:db8::1"),
        ("127.0.0.1", "VM.corp", "vm.corp"),
        ("127.0.0.1", "10.0.0.9", "10.0.0.9"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("0.0.0.0", "vm.corp", "vm.corp"),
        ("10.0.0.256", "vm.corp", "vm.corp"),
        ("::1", "${host}", "::1"),
        (None, "vm_1.corp", "vm_1.corp"),
    ],
)
def test_address_is_the_ip_or_else_the_host_name(ip, host, address) -> None:
    assert read(ipAddr=ip, hostName=host).instance.address == address


@pytest.mark.parametrize(
    ("ip", "host"), [("", ""), ("0.0.0.0", None), ("x y", "a b"), ("${ip}", "${host}"), ("-", "-a")]
)
def test_record_without_an_address_is_refused(ip, host) -> None:
    assert "is an address" in read(ipAddr=ip, hostName=host).refusal


def test_record_without_a_name_is_refused() -> None:
    assert read(instanceId=None).instance.id == "10.0.0.1"
    assert read(instanceId=None, hostName="vm").instance.id == "vm"
    assert "neither" in read(instanceId="", ipAddr="", hostName="").refusal


@pytest.mark.parametrize(
    ("plain", "secure", "ports"),
    [
        ({"$": 80, "@enabled": "true"}, {"$": 443, "@enabled": "false"}, (Port("http", 80, "http"),)),
        ({"$": "80", "@enabled": True}, None, (Port("http", 80, "http"),)),
        (
            {"$": 80, "@enabled": "false"},
            {"$": 443, "@enabled": "true"},
            (Port("https", 443, "https", True),),
        ),
        (
            {"$": 80, "@enabled": "true"},
            {"$": 443, "@enabled": "true"},
            (Port("http", 80, "http"), Port("https", 443, "https", True)),
        ),
        (80, None, (Port("http", 80, "http"),)),
        ({"$": 0, "@enabled": "false"}, None, ()),
        (None, None, ()),
    ],
)
def test_enabled_ports_are_named(plain, secure, ports) -> None:
    entry = read(port=plain, securePort=secure)

    assert entry.instance.ports == ports
    assert bool(entry.remarks) is not bool(ports)


@pytest.mark.parametrize("value", [0, 65536, -1, "x", "808080", 80.5, True, None, [80], "٣"])
def test_port_that_is_none_is_refused(value) -> None:
    assert "from 1 to 65535" in read(port={"$": value, "@enabled": "true"}).refusal


def test_metadata_gives_labels_zone_and_weight_and_keeps_no_secret() -> None:
    metadata = {
        "@class": "x",
        "zone": "eu/1a",
        "version": "v1",
        "weight": "20",
        "user.password": "x",
        "apiKey": "x",
        "left": "${over}",
        "long": "x" * 2_000,
        "deep": {"a": 1},
        "flag": True,
        "none": None,
        "number": 1.5,
    }

    entry = read(("version", "flag"), metadata=metadata)

    assert entry.instance.labels == (("flag", "true"), ("version", "v1"))
    kept = {"zone": "eu/1a", "version": "v1", "weight": "20", "flag": "true", "number": "1.5"}
    assert dict(entry.instance.metadata) == kept
    assert (entry.instance.locality, entry.instance.weight) == ("/eu-1a", 20)
    assert entry.remarks == (
        "metadata 'deep' is no short text",
        "metadata 'left' is unresolved",
        "metadata 'long' is no short text",
    )


def test_metadata_is_bounded() -> None:
    entry = read(metadata={f"{number:03}": "x" for number in range(300)})

    assert len(entry.instance.metadata) == traits.MAX_PAIRS
    assert entry.remarks == ("more than 200 pairs of metadata",)


@pytest.mark.parametrize("weight", ["", "-1", "heavy", "1e3", "12345678901", "²"])
def test_weight_that_is_no_number_is_none(weight) -> None:
    assert read(metadata={"weight": weight}).instance.weight is None


def test_zone_of_amazon_is_used_where_metadata_has_none() -> None:
    amazon = {"name": "Amazon", "metadata": {"availability-zone": "us-east-1c"}}

    assert read(dataCenterInfo=amazon).instance.locality == "/us-east-1c"
    assert read(dataCenterInfo=amazon, metadata={"zone": "a"}).instance.locality == "/a"
    assert read(dataCenterInfo={"metadata": {"availability-zone": 7}}).instance.locality == ""
    assert read(dataCenterInfo={"metadata": 7}).instance.locality == ""


def test_metadata_that_is_no_text_at_all_is_none() -> None:
    record = Record(instance_id="i", ip="10.0.0.1", status="UP", metadata=msgspec.Raw(b'{"a":"\xff"}'))

    assert one(Reader(()), record).instance.metadata == ()


def test_vip_names_are_lists_and_unresolved_ones_are_told() -> None:
    entry = read(vipAddress="Shop, store,,shop", secureVipAddress="${spring.name},secure")

    assert entry.vips == ("shop", "store", "secure")
    assert entry.remarks == ("VIP name '${spring.name}' is unresolved",)


def test_times_are_numbers_or_texts() -> None:
    lease = {"registrationTimestamp": 1, "lastRenewalTimestamp": 5_000, "durationInSecs": 90}

    entry = read(leaseInfo=lease, lastUpdatedTimestamp="7", lastDirtyTimestamp=8, actionType="ADDED")

    assert (entry.registered, entry.expires, entry.updated, entry.dirty) == (1, 95_000, 7, 8)
    unknown = read(lastDirtyTimestamp=None)
    assert (unknown.updated, unknown.dirty) == (0, 0)


def test_refused_record_is_an_entry_without_an_instance() -> None:
    entry = one(Reader(()), Refused("i", "odd", "DELETED", "why"))

    assert entry == Entry("i", "UNKNOWN", "DELETED", refusal="why")


def test_caches_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(instances, "_MAX_CACHED", 2)
    reader = Reader(())
    found = []
    for number in range(5):
        metadata = msgspec.Raw(json.dumps({"n": str(number)}).encode())
        record = Record(instance_id="i", ip="10.0.0.1", status="UP", metadata=metadata)
        found.append(one(reader, record).instance.metadata)

    assert found == [(("n", str(number)),) for number in range(5)]


def test_what_records_share_is_read_once() -> None:
    reader = Reader(("version",))
    item = {"ipAddr": "10.0.0.1", "vipAddress": "shop", "port": {"$": 80}, "metadata": {"version": "v1"}}
    texts = [json.dumps({"instanceId": name, **item}) for name in "abc"]
    other = json.dumps({"instanceId": "d", **item, "vipAddress": "pay", "port": {"$": 81}})

    records = [
        msgspec.json.decode(text, type=Record) for text in (*texts, other, texts[0].replace('"a"', '"e"'))
    ]
    entries = reader.read(records)

    assert [entry.id for entry in entries.values()] == list("abcde")
    assert entries["a"].instance.metadata is entries["d"].instance.metadata
    assert entries["a"].instance.ports is entries["e"].instance.ports
    assert [entry.vips for entry in entries.values()] == [("shop",)] * 3 + [("pay",), ("shop",)]
    assert entries["d"].instance.ports == (Port("http", 81, "http"),)


@pytest.mark.parametrize("order", [1, -1])
def test_newest_of_two_records_with_one_id_counts(order) -> None:
    records = [
        Record(instance_id="i", ip="10.0.0.1", status=status, updated=at)
        for status, at in (("DOWN", 1), ("UP", 2))
    ]

    assert Reader(()).read(records[::order])["i"].status == "UP"
