"""Watches one part of a Consul cluster and says what changed."""

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.consul.budget import Budget
from meshbridge.adapters.consul.client import Client
from meshbridge.adapters.consul.intake import Intake
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.transport import Failure
from meshbridge.adapters.consul.watch import Watch
from meshbridge.schemas.errors import RegistryDenied, RegistryError, RegistryUnavailable


class ConsulAdapter:
    """One Consul source. `run()` may be called again after it ended, not while it runs."""

    def __init__(self, config: ConsulConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._intake: Intake | None = None
        self._budget = Budget(config.connections)

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._context.source

    async def run(self, emit: Emit) -> None:
        """Watch until cancelled.

        Raises:
            RegistryUnavailable: no agent gives a usable answer.
            RegistryDenied: the token lacks rights.
        """
        if self._intake is None:  # Not before: what was known is asked for when the source starts.
            self._intake = Intake(self._config, self._context)
        self._intake.begin()
        try:
            await self._watch(self._intake, emit)
        except Failure as failure:
            raise self._error(failure) from failure
        except BaseExceptionGroup as errors:
            failures, others = errors.split(Failure)
            if failures is None or others is not None:
                raise
            raise self._error(_first(failures)) from errors

    async def _watch(self, intake: Intake, emit: Emit) -> None:
        client = Client(self._config, self._context)
        try:
            await Watch(self._config, self._context, intake, self._budget, client).run(emit)
        finally:
            await client.close()

    def _error(self, failure: Failure) -> RegistryError:
        error = RegistryDenied if failure.is_denied else RegistryUnavailable
        return error(self.name, "read", failure.text)


def _first(failures: BaseExceptionGroup[Failure]) -> Failure:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
