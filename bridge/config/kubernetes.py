"""The settings of the Kubernetes output."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from meshbridge.bridge.config.fields import Count, Patterns
from meshbridge.schemas.settings import Duration, StrictModel

_LABEL = r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$"

Name = Annotated[str, StringConstraints(pattern=_LABEL)]
"""A DNS label, short enough to be part of a field manager's name."""


class Policy(StrEnum):
    """What may be done to objects of ours."""

    SYNC = "sync"
    """Create, change and delete."""
    UPSERT_ONLY = "upsert-only"
    """Create and change; what is no longer wanted stays."""
    CREATE_ONLY = "create-only"
    """Create; what exists stays as it is."""


class Adopt(StrEnum):
    """What happens to an object that exists under a name of ours and is not ours."""

    NEVER = "never"
    """It stays as it is, and is reported."""
    UNOWNED = "unowned"
    """It becomes ours when nobody else lays claim to it."""
    FORCE = "force"
    """It becomes ours."""


class Adoption(StrictModel):
    """Another adoption for some hosts."""

    hosts: Patterns
    """Hosts of mesh services (WorkloadEntries: their names): exact, globs, or /regular expressions/."""
    adopt: Adopt
    """never, unowned or force; the first entry whose hosts match decides."""


class Lease(StrictModel):
    """The Lease by which the bridges of a group agree on the one that writes."""

    namespace: str = ""
    """Namespace of the Lease. Default: that of the pod or of the kubeconfig's context, else `default`."""
    duration: Annotated[Duration, Field(ge=3)] = 15.0
    """How long the Lease holds without renewal, whole seconds of at least 3s. A leader that can't renew
    stops writing after two thirds of it; another one takes over when all of it has passed."""


class KubernetesOutput(StrictModel):
    """Writing the resources to the Kubernetes API."""

    enabled: bool = False
    """Whether to write. Needs `pip install meshbridge[kubernetes]`."""
    kubeconfig: str = ""
    """File with the address and credentials of the API server. Default: those of the pod."""
    context: str = ""
    """Context of the kubeconfig. Default: its current one."""
    group: Name = "meshbridge"
    """Name of the bridges that write as one: field manager, label of the objects, and name of the Lease.
    Bridges with different sources on one cluster need different ones."""
    policy: Policy = Policy.SYNC
    """What may be done to objects of ours: sync, upsert-only (never delete) or create-only."""
    adopt: Adopt = Adopt.NEVER
    """What happens to objects that others made under our names: never (report), unowned or force."""
    adoption: tuple[Adoption, ...] = ()
    """Exceptions from `adopt`, by host."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to read and write; rights in these are enough. Default: all, which needs a ClusterRole."""
    create_namespaces: bool = False
    """Whether to create missing namespaces; otherwise their resources wait and are reported."""
    dry_run: bool = False
    """Have every write judged by the API server (rights, admission, schema) but not done."""
    in_flight: Annotated[Count, Field(le=64)] = 8
    """Requests under way at once; a real API server is fastest with 8."""
    request_timeout: Annotated[Duration, Field(ge=1)] = 10.0
    """How long to wait for the answer to one request."""
    lease: Lease = Lease()
    """The Lease by which the bridges of a group agree on the one that writes."""
