"""Why something is, or is not, in the mesh: the pipeline's own steps, told one by one."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import msgspec

from meshbridge.bridge.pipeline.identities import accepted_ids, identity_text
from meshbridge.bridge.pipeline.mesh import Built, Evaluated, Mesh
from meshbridge.bridge.pipeline.rules import health_text
from meshbridge.bridge.pipeline.values import Dropped, Member, MeshKey
from meshbridge.schemas.registry import Instance, Note, ServiceKey
from meshbridge.schemas.resource import ResourceKey

_MAX_IDS = 5
MAX_EXPLANATIONS = 100
"""Enough for a person; a query that matches more is too wide."""


class Step(msgspec.Struct, frozen=True, rename="camel"):
    """One stage of the pipeline and what it decided."""

    stage: str
    """source, guard, rules, merge, convert, validate, publish, output, or clients."""
    verdict: str
    """ok, warning, dropped, held, standby, unready, draining, quarantined, or waiting."""
    text: str


class Explanation(msgspec.Struct, frozen=True, rename="camel"):
    """Why a service or instance is, or is not, in the mesh."""

    subject: str
    """`source/service`, `source/service instance-id`, or the host."""
    served: bool
    steps: tuple[Step, ...]


Trouble = Callable[[ResourceKey], str]
"""Why a resource is not where an output should have written it, "" when all is well."""


def explain(mesh: Mesh, query: str, trouble: Trouble = lambda _: "") -> list[Explanation]:
    """Return an explanation for everything whose host, name, id or address is the query."""
    found: list[Explanation] = []
    for evaluated in _all(mesh):
        by_service = query in (evaluated.group.key.name, str(evaluated.group.key), *_hosts(evaluated))
        if by_service:
            found.append(_explain_group(mesh, evaluated, trouble))
        # After a change of rules, verdicts are lacking until the group has been worked off.
        wanted = (
            _explain_instance(mesh, evaluated, instance, verdict)
            for instance, verdict in zip(evaluated.group.instances, evaluated.verdicts, strict=False)
            if by_service or query in (instance.id, instance.address)
        )
        found.extend(itertools.islice(wanted, MAX_EXPLANATIONS))
        if not by_service:
            found.extend(_explain_notes(evaluated, query))
        if len(found) >= MAX_EXPLANATIONS:
            break
    return found[:MAX_EXPLANATIONS]


def _all(mesh: Mesh) -> Iterator[Evaluated]:
    for source in sorted(mesh.guards):
        yield from sorted(mesh.evaluated(source), key=lambda found: found.group.key)


def _hosts(evaluated: Evaluated) -> set[str]:
    return {text for target in evaluated.targets() for text in (target.host, str(target))}


def _explain_group(mesh: Mesh, evaluated: Evaluated, trouble: Trouble) -> Explanation:
    group = evaluated.group
    steps = [Step("source", "ok", f"{len(group.instances)} instances")]
    steps.extend(Step("source", "warning", f"{note.record}: {note.reason}") for note in group.notes)
    if group.held:
        steps.append(
            Step("guard", "held", f"{len(group.held)} instances are kept although the registry lost them")
        )
    served = False
    for target in sorted(evaluated.targets()):
        built = mesh.services.get(target)
        if built is not None:
            served = served or bool(built.converted.ready)
            steps.extend(_service_steps(target, built))
            steps.extend(_extras(built, mesh.rules.defaults.trust_domain))
            steps.extend(_output_steps(built, trouble))
    return Explanation(str(group.key), served, tuple(steps))


def _service_steps(target: MeshKey, built: Built) -> Iterator[Step]:
    ports = ", ".join(f"{port.number}/{port.protocol or 'auto'}" for port in built.service.ports)
    names = ", ".join(map(str, built.service.groups))
    yield Step("merge", "ok", f"{target}, ports {ports}, made of {names}")
    yield from (Step("merge", "warning", _noted(note)) for note in built.service.notes)
    yield from (Step("convert", "warning", _noted(note)) for note in built.converted.notes)
    if built.error:
        kept = "its last valid form is served" if built.converted.resources else "nothing is served"
        yield Step("validate", "quarantined", f"{built.error.strip()}; {kept}")
    for found in built.converted.resources[:5]:
        yield Step("publish", "ok", f"{found.key} version {found.version}")
    yield Step("publish", "ok", f"{built.converted.ready} of {built.converted.total} endpoints")


def _extras(built: Built, trust_domain: str) -> Iterator[Step]:
    """Tell what a service as a whole has: identities, a virtual address, sources that stand by."""
    service = built.service
    ids = accepted_ids(service.key.namespace, service.members, service.settings, trust_domain)
    if ids:
        more = f" and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else ""
        yield Step("merge", "ok", f"clients accept any of {', '.join(ids[:_MAX_IDS])}{more}")
    if service.virtual_ip:
        yield Step("merge", "ok", f"virtual address {service.virtual_ip}")
    if service.earlier_names:
        yield Step("merge", "ok", f"also accepted for a while: {', '.join(service.earlier_names)}")
    if service.standby:
        yield Step("merge", "ok", f"{', '.join(map(str, service.standby[:5]))} stand by")


def _output_steps(built: Built, trouble: Trouble) -> Iterator[Step]:
    for found in built.converted.resources:
        if text := trouble(found.key):
            yield Step("output", "warning", f"{found.key} is not written to kubernetes: {text}")


def _explain_instance(
    mesh: Mesh, evaluated: Evaluated, instance: Instance, verdict: Member | Dropped
) -> Explanation:
    group = evaluated.group
    ports = ", ".join(f"{port.number}/{port.protocol or '?'}" for port in instance.ports) or "none"
    steps = [Step("source", "ok", f"{instance.address}, ports {ports}, {instance.health}")]
    steps.extend(Step("source", "warning", note.reason) for note in group.notes if note.record == instance.id)
    if instance.id in group.held:
        steps.append(
            Step("guard", "held", "the registry lost it; it is kept until recovery, release or time-out")
        )
    decision = mesh.rules.for_group(group).decision(instance)
    names = ", ".join(decision.rules) or "no rule"
    if isinstance(verdict, Dropped):
        steps.append(Step("rules", "dropped", f"{verdict.reason} ({names} matched)"))
        return Explanation(f"{group.key} {instance.id}", served=False, steps=tuple(steps))
    steps.append(Step("rules", "ok", f"{names} matched: {verdict.mesh}, {_looks(verdict)}"))
    if verdict.service_account or verdict.settings.subject_alt_names:
        steps.append(Step("rules", "ok", identity_text(verdict, mesh.rules.defaults.trust_domain)))
    served, last = _fate(mesh.services.get(verdict.mesh), verdict, group.key)
    steps.extend(last)
    return Explanation(f"{group.key} {instance.id}", served, tuple(steps))


def _looks(member: Member) -> str:
    parts = [f"{key}={value}" for key, value in member.labels]
    parts += [f"locality {member.locality}"] if member.locality else []
    parts += [f"weight {member.weight}"] if member.weight else []
    parts += [f"service account {member.service_account}"] if member.service_account else []
    return ", ".join(parts) or "no labels"


def _fate(built: Built | None, member: Member, group: ServiceKey) -> tuple[bool, list[Step]]:
    """Return whether the member is an endpoint, and the steps after the rules."""
    if built is None:
        return False, [Step("publish", "waiting", "not worked off yet")]
    steps = [
        Step("convert", "warning", note.reason) for note in built.converted.notes if note.record == member.id
    ]
    unused = _unused(built, member, group)
    if unused is not None:
        return False, [*steps, unused]
    if built.error:
        last_valid = any(
            found.member.id == member.id and not found.refusal for found in built.converted.endpoints
        )
        return last_valid, [*steps, Step("validate", "quarantined", built.error.strip())]
    if any(note.record == member.id and note.reason.startswith("left out") for note in built.converted.notes):
        return False, steps
    return True, [*steps, Step("publish", "ok", f"an endpoint of {member.mesh}")]


def _unused(built: Built, member: Member, group: ServiceKey) -> Step | None:
    """Return why the merged service goes without the member, None when it does not."""
    if not member.health.is_served:
        return Step("convert", str(member.health), health_text(member.health))
    if group in built.service.standby:
        return Step("merge", "standby", f"{group.source} stands by: another source is preferred")
    twin = next((found for found in built.service.members if _same_place(found, member)), member)
    if twin != member:
        return Step("merge", "dropped", f"{twin.id} has the same address and ports")
    return None


def _same_place(one: Member, other: Member) -> bool:
    numbers = [port.number for port in one.ports]
    return one.address == other.address and numbers == [port.number for port in other.ports]


def _explain_notes(evaluated: Evaluated, query: str) -> Iterable[Explanation]:
    """Yield explanations for records that never became instances."""
    for note in evaluated.group.notes:
        if query in note.record or query in note.reason:
            step = Step("source", "dropped", note.reason)
            yield Explanation(f"{evaluated.group.key} {note.record}", served=False, steps=(step,))


def _noted(note: Note) -> str:
    return f"{note.record}: {note.reason}"
