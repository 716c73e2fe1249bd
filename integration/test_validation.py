"""The bridge's verdict on a resource is istiod's: it publishes what istiod takes, and nothing else.

What is served here goes around the pipeline, straight into the MCP server: also what is not valid.
"""

import re
import time
from collections.abc import Mapping

import pytest

from integration import odd_specs
from integration.conftest import MakeIstiod, Note
from integration.istiod import configz
from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.schemas import wire
from meshbridge.schemas.istio import ServiceEntry, Spec
from meshbridge.schemas.problems import Severity
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import EMPTY_SNAPSHOT, Kind, Publication, ResourceKey, replace, resource
from meshbridge.schemas.validation import validate

COUNT = 2400
STRICTER = re.compile(r"meshbridge's rule|'a{63}'|'v{64}'|%eth0|^metadata")
"""What istiod takes and we don't: our own rules, what Kubernetes says of objects and lengths, IPv6 zones."""


@pytest.mark.parametrize("seed", range(2))
async def test_istiod_takes_exactly_what_validation_lets_pass(
    make_istiod: MakeIstiod, figure: Note, seed: int
) -> None:
    odd: list[Spec] = [
        *odd_specs.service_entries(seed, COUNT // 2),
        *odd_specs.workload_entries(seed, COUNT // 2),
    ]
    specs = {f"entry-{number}": spec for number, spec in enumerate(odd)}
    carried = dict(zip(specs, odd_specs.object_labels(seed, COUNT), strict=True))
    server = McpServer(Serving(await _cache(specs, carried)), "127.0.0.1:0")
    address = f"127.0.0.1:{await server.start()}"
    try:
        async with make_istiod(address) as istiod:
            await istiod.wait_ready()
            held = {key.rpartition("/")[2] for key in configz.held(await istiod.configz())}
    finally:
        await server.stop(grace=1.0)

    verdicts = {name: _errors(spec, carried[name]) for name, spec in specs.items()}
    dropped_silently = [specs[name] for name, errors in verdicts.items() if name not in held and not errors]
    needlessly_refused = [
        (errors, specs[name])
        for name, errors in verdicts.items()
        if name in held and errors and not all(map(STRICTER.search, errors))
    ]
    assert not dropped_silently
    assert not needlessly_refused
    own = sum(bool(errors) for name, errors in verdicts.items() if name in held)
    figure(
        f"odd resources, seed {seed}",
        f"{COUNT}: istiod holds {len(held)}, of which we refuse {own} for stricter rules, "
        f"and drops {COUNT - len(held)}, all of which we refuse",
    )
    assert COUNT / 4 < len(held) < COUNT * 3 / 4


def _errors(spec: Spec, carried: Mapping[str, str]) -> list[str]:
    problems = validate(_kind(spec), "legacy", "x", spec, carried)
    return [f"{one.field}: {one.text}" for one in problems if one.severity is Severity.ERROR]


def _kind(spec: Spec) -> Kind:
    return Kind.SERVICE_ENTRY if isinstance(spec, ServiceEntry) else Kind.WORKLOAD_ENTRY


async def _cache(specs: Mapping[str, Spec], carried: Mapping[str, Mapping[str, str]]) -> SnapshotCache:
    keys = {name: ResourceKey(_kind(spec), "legacy", name) for name, spec in specs.items()}
    resources = {
        keys[name]: resource(keys[name], wire.encode(spec), labels(carried[name]))
        for name, spec in specs.items()
    }
    cache = SnapshotCache()
    await cache.apply(Publication(1, *replace(EMPTY_SNAPSHOT, resources), {"odd": time.monotonic()}))
    return cache
