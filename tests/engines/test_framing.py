"""Tests of asciid.engines.remote._framing."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.remote._framing import MAX_MESSAGE, MessageProtocol
from tests._thoroughness import examples


class End:
    """Records its calls."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.calls: list[str] = []

    def made(self, _: MessageProtocol) -> None:
        """Record the call."""
        self.calls.append("made")

    def received(self, _: MessageProtocol, message: Any) -> None:  # noqa: ANN401 - as IEnd has it
        """Record the message."""
        self.messages.append(message)

    def lost(self, _: MessageProtocol) -> None:
        """Record the call."""
        self.calls.append("lost")


class MessageProtocolTests(SynchronousTestCase):
    """Messages on a stream."""

    def make(self) -> tuple[MessageProtocol, End, StringTransport]:
        """Return a protocol of lists of integers and bytes, connected."""
        end = End()
        decoder = msgspec.msgpack.Decoder(list[int | bytes])
        protocol, transport = MessageProtocol(decoder, end), StringTransport()
        protocol.makeConnection(transport)
        return protocol, end, transport

    @examples(50)
    @given(
        st.lists(st.lists(st.integers(0, 2**32) | st.binary(max_size=40)), max_size=5),
        st.lists(st.integers(1, 30), min_size=1, max_size=20),
    )
    def test_any_cut(self, messages: list[Any], cuts: list[int]) -> None:
        """Messages arrive in order and whole, however the stream is cut."""
        sender, _, transport = self.make()
        for message in messages:
            sender.send(message)
        stream, position = transport.value(), 0
        receiver, end, _ = self.make()
        while position < len(stream):
            cut = cuts[position % len(cuts)]
            receiver.dataReceived(stream[position : position + cut])
            position += cut
        self.assertEqual(end.messages, messages)

    def assert_ended(self, stream: bytes, what: str) -> None:
        """Assert that `stream` ends the connection, and that the reason is logged."""
        receiver, end, transport = self.make()
        with capturedLogs() as events:
            receiver.dataReceived(stream)
        self.assertTrue(transport.disconnecting or transport.disconnected)
        self.assertEqual(end.messages, [])
        (event,) = [e for e in events if e["log_level"] is LogLevel.error]
        self.assertIn(what, str(event["error"]))

    def test_too_long(self) -> None:
        """A length past the bound ends the connection before anything is kept."""
        self.assert_ended((MAX_MESSAGE + 1).to_bytes(4, "big"), "(limit ")

    def test_garbage(self) -> None:
        """Invalid bytes end the connection."""
        self.assert_ended(b"\x00\x00\x00\x01\xc1", "MessagePack")

    def test_another_message(self) -> None:
        """So does a message of a kind that is unknown here."""
        self.assert_ended(b"\x00\x00\x00\x01\xc0", "Expected")

    def test_ends(self) -> None:
        """Its owner is notified of its begin and its end."""
        receiver, end, _ = self.make()
        receiver.connectionLost()
        self.assertEqual(end.calls, ["made", "lost"])
