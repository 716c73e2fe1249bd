"""Plays the scripts against a server."""

import asyncio
from collections.abc import Iterable
from typing import Literal

import grpc
import msgspec
from google.protobuf.message import DecodeError

from meshbridge.mcp.conformance import script
from meshbridge.mcp.conformance.rules import RULES, TYPES, Rule
from meshbridge.mcp.conformance.tongues import TONGUES, Hearing, Saying, Tongue

_AT_ONCE = 4

Call = grpc.aio.StreamStreamCall[bytes, bytes]


class Result(msgspec.Struct, frozen=True):
    """What became of one rule."""

    protocol: str
    rule: str
    result: Literal["pass", "fail", "skip"]
    reason: str = ""
    """Why it failed or was skipped."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds."""

    answer: float = 10.0
    """In which an answer must come."""
    quiet: float = 1.0
    """In which no answer may come where none is due."""


class Unreachable(Exception):  # noqa: N818 - that is what the server is
    """Nothing listens at the address."""


class _Broken(Exception):  # noqa: N818 - that is what the rule is
    """The server breaks the rule."""


async def run(
    channel: grpc.aio.Channel, protocols: Iterable[str], timing: Timing, rules: Iterable[Rule] = RULES
) -> list[Result]:
    """Return what becomes of every rule of these protocols, in their order.

    The server should be at rest: it can't be told what changes from what it should not have said.

    Raises:
        Unreachable: nothing listens.
    """
    results: list[Result] = []
    for protocol in protocols:
        results += await _run_protocol(
            channel, [r for r in rules if r.protocol == protocol], protocol, timing
        )
    return results


async def _run_protocol(
    channel: grpc.aio.Channel, rules: list[Rule], protocol: str, timing: Timing
) -> list[Result]:
    tongue = TONGUES[protocol]
    try:
        survey = await _survey(channel, tongue, TYPES[protocol]["SE"], timing)
    except _NotSpoken:
        return [Result(protocol, rule.name, "skip", "the server does not speak it") for rule in rules]
    except _Broken as error:
        return [Result(protocol, rule.name, "fail", str(error)) for rule in rules]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(rule: Rule) -> Result:
        async with turn:
            return await _try(rule, channel, survey, timing)

    return list(await asyncio.gather(*map(one, rules)))


class _NotSpoken(Exception):  # noqa: N818 - that is what the protocol is
    """The server doesn't know the method."""


async def _survey(channel: grpc.aio.Channel, tongue: Tongue, type_url: str, timing: Timing) -> script.Survey:
    """Return the ServiceEntries there are."""
    stream = _Stream(channel, tongue, timing)
    try:
        await stream.say(Saying(type_url))
        heard = await stream.hear(type_url)
    except _Broken:
        if stream.call.done() and await stream.call.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise _NotSpoken from None
        if stream.call.done() and await stream.call.code() is grpc.StatusCode.UNAVAILABLE:
            raise Unreachable(await stream.call.details()) from None
        raise
    finally:
        stream.call.cancel()
    return heard.resources


async def _try(rule: Rule, channel: grpc.aio.Channel, survey: script.Survey, timing: Timing) -> Result:
    if rule.needs_resources and not survey:
        return Result(rule.protocol, rule.name, "skip", "the server has no ServiceEntry")
    stream = _Stream(channel, TONGUES[rule.protocol], timing)
    try:
        for words in script.lines(rule, survey):
            await _play(stream, rule.protocol, words, survey)
    except _Broken as error:
        return Result(rule.protocol, rule.name, "fail", f"{error}; {rule.why}")
    finally:
        stream.call.cancel()
    return Result(rule.protocol, rule.name, "pass")


async def _play(stream: "_Stream", protocol: str, words: list[str], survey: script.Survey) -> None:
    match words:
        case [">", *rest]:
            await stream.say(script.saying(protocol, rest, stream.last, survey))
        case ["ack", short]:
            await stream.say(script.saying(protocol, [short, "nonce=last"], stream.last, survey))
        case ["<", "nothing"]:
            await stream.stay_silent()
        case ["<", short, *_]:
            url = TYPES[protocol][short]
            before = stream.last.get(url)
            heard = await stream.hear(url)
            if reason := script.fault(heard, words[1:], before, survey):
                raise _Broken(f"the answer for {url} is wrong: {reason}")


class _Stream:
    """One stream, and what was heard on it."""

    def __init__(self, channel: grpc.aio.Channel, tongue: Tongue, timing: Timing) -> None:
        self.call: Call = channel.stream_stream(tongue.method, None, None)(request_iterator=None)
        self._tongue = tongue
        self._timing = timing
        self._unread: list[Hearing] = []
        self.last: dict[str, Hearing] = {}

    async def say(self, saying: Saying) -> None:
        try:
            async with asyncio.timeout(self._timing.answer):
                await self.call.write(self._tongue.say(saying))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise _Broken(await self._end()) from None
        except TimeoutError:
            raise _Broken("the server does not read what it is sent") from None

    async def hear(self, type_url: str) -> Hearing:
        """Return the next answer for a type; those for other types wait."""
        try:
            async with asyncio.timeout(self._timing.answer):
                while not (found := [heard for heard in self._unread if heard.type_url == type_url]):
                    self._unread.append(await self._read())
        except TimeoutError:
            got = "".join(f", but one for {heard.type_url}" for heard in self._unread[:1])
            raise _Broken(f"no answer for {type_url} within {self._timing.answer:g} s{got}") from None
        self._unread.remove(found[0])
        self.last[type_url] = found[0]
        return found[0]

    async def stay_silent(self) -> None:
        try:
            async with asyncio.timeout(self._timing.quiet):
                heard = self._unread[0] if self._unread else await self._read()
        except TimeoutError:
            return
        raise _Broken(f"an answer for {heard.type_url} came where none is due")

    async def _read(self) -> Hearing:
        try:
            raw = await self.call.read()
        except grpc.aio.AioRpcError:
            raise _Broken(await self._end()) from None
        if not isinstance(raw, bytes):  # gRPC's mark of the end.
            raise _Broken(await self._end())
        try:
            return self._tongue.hear(raw)
        except DecodeError:
            raise _Broken("what came is no response of this protocol") from None

    async def _end(self) -> str:
        code, details = await self.call.code(), await self.call.details()
        return f"the server ended the stream: {code.name} {details}".rstrip()
