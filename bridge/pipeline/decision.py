"""What a combination of rules says together: for each field, the first rule that sets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshbridge.bridge.config.rules import Rule, SetFields
from meshbridge.bridge.pipeline.presets import PRESETS
from meshbridge.bridge.pipeline.template import Template, compile_template

_NOTHING = SetFields()


@dataclass(frozen=True)
class Decision:
    """What a combination of rules says; None leaves the field to the registry, then to the defaults."""

    rules: tuple[str, ...]
    dropped_by: str = ""
    host: Template | None = None
    hosts: tuple[Template, ...] | None = None
    namespace: Template | None = None
    service_account: Template | None = None
    subject_alt_names: tuple[Template, ...] | None = None
    network: Template | None = None
    locality: Template | None = None
    weight: Template | None = None
    labels: tuple[tuple[str, Template | None], ...] = ()
    fields: SetFields = _NOTHING


def combine(rules: Sequence[tuple[str, Rule]]) -> Decision:
    """Return what these rules, by name and in order of precedence, say together."""
    verdict = next(((name, rule.drop) for name, rule in rules if rule.drop or rule.keep), ("", False))
    chosen: dict[str, object] = {}
    added: dict[str, str | None] = {}
    for _, rule in rules:
        for field, value in said(rule.set).items():
            chosen.setdefault(field, value)
        for key, text in (rule.set.labels or {}).items():
            added.setdefault(key, text)
    fields = _NOTHING.model_copy(update=chosen)
    return Decision(
        rules=tuple(name for name, _ in rules),
        dropped_by=verdict[0] if verdict[1] else "",
        host=host_template(fields.preset, fields.host),
        hosts=_all_compiled(fields.hosts),
        namespace=_compiled(fields.namespace),
        service_account=_compiled(fields.service_account),
        subject_alt_names=_all_compiled(fields.subject_alt_names),
        network=_compiled(fields.network),
        locality=_compiled(fields.locality),
        weight=_compiled(str(fields.weight) if isinstance(fields.weight, int) else fields.weight),
        labels=tuple((key, _compiled(text)) for key, text in sorted(added.items())),
        fields=fields,
    )


def said(fields: SetFields) -> Mapping[str, object]:
    """Return what a rule sets; a preset and a host are one decision."""
    found = {field: getattr(fields, field) for field in fields.model_fields_set}
    if "preset" in found or "host" in found:
        found |= {"preset": fields.preset, "host": fields.host}
    return found


def host_template(preset: str | None, host: str | None) -> Template | None:
    """Return the template of hosts that a preset, or else a text, stands for."""
    if preset is None:
        return _compiled(host)
    return compile_template(PRESETS[preset].host, PRESETS[preset].needs)


def _compiled(text: str | None) -> Template | None:
    return None if text is None else compile_template(text)


def _all_compiled(texts: Sequence[str] | None) -> tuple[Template, ...] | None:
    return None if texts is None else tuple(map(compile_template, texts))
