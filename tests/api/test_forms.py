"""Forms, however their bodies are split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._forms import Form, is_form, is_multipart
from asciid.api._refusals import MalformedFormError
from asciid.errors import InvalidAboutError

TYPE = b"multipart/form-data; boundary=XX"
REFUSALS = MalformedFormError, InvalidAboutError
FILES = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--XX", b"X", b"\r\n--X", b"a"])
).map(b"".join)


def body_of(file: bytes, title: str) -> bytes:
    """Return a form with a file and a title."""
    return (
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="fish.txt"\r\n'
        b"Content-Type: text/plain; charset=cp437\r\n\r\n%b\r\n"
        b'--XX\r\nContent-Disposition: form-data; name="title"\r\n\r\n%b\r\n--XX--\r\n'
    ) % (file, title.encode())


class FormTests(SynchronousTestCase):
    """`Form` by itself."""

    def setUp(self) -> None:
        """Receive nothing yet."""
        self.received: list[bytes] = []

    def receive(self, form: Form, piece: bytes) -> None:
        """Process a piece of the body."""
        self.successResultOf(Deferred.fromCoroutine(form.receive(piece)))

    @given(FILES, st.text(max_size=20), st.lists(st.integers(1, 50)))
    def test_any_split(self, file: bytes, title: str, sizes: list[int]) -> None:
        """A form is the same, in whatever pieces it arrives."""
        if b"\r\n--XX" in b"\r\n" + file:
            # No client has a boundary that is in the file.
            return
        self.received.clear()
        form = Form(TYPE, self.received.append)
        body = body_of(file, title)
        for size in sizes:
            piece, body = body[:size], body[size:]
            if piece:
                self.receive(form, piece)
        if body:
            self.receive(form, body)
        form.end()
        self.assertEqual(b"".join(self.received), file)
        self.assertEqual(form.fields, {"title": title})
        self.assertEqual((form.file_name, form.file_charset), ("fish.txt", "cp437"))

    @given(st.binary(max_size=300), st.lists(st.integers(1, 20)))
    def test_any_body(self, body: bytes, sizes: list[int]) -> None:
        """Whatever is sent, it is a form or refused."""
        form = Form(TYPE, self.received.append)
        body = b"--XX\r\n" + body

        async def receive() -> None:
            rest = body
            for size in sizes:
                piece, rest = rest[:size], rest[size:]
                if piece:
                    await form.receive(piece)
            form.end()

        done = Deferred.fromCoroutine(receive())
        done.addErrback(lambda failure: failure.trap(*REFUSALS) and None)
        self.successResultOf(done)

    def test_boundaries(self) -> None:
        """A boundary may be quoted, and has at most 70 characters."""
        for boundary, sent in (
            ("XX", "XX"),
            ("XX", '"XX"'),
            ("a b:c", '"a b:c"'),
            ("x" * 70, "x" * 70),
        ):
            kind = f"Multipart/Form-Data; charset=utf-8;Boundary={sent}; a=b"
            form = Form(kind.encode(), self.received.append)
            body = body_of(b"fish", "").replace(b"--XX", f"--{boundary}".encode())
            self.receive(form, body)
            form.end()
        for sent in ("", "boundary=", "boundary=a b", f"boundary={'x' * 71}", "x=XX"):
            with self.assertRaises(MalformedFormError):
                Form(f"multipart/form-data; {sent}".encode(), self.received.append)

    def test_slow_sink(self) -> None:
        """While the sink is not ready, the form waits."""
        ready: list[Deferred[None]] = []

        def sink(piece: bytes) -> Deferred[None]:
            self.received.append(piece)
            ready.append(Deferred())
            return ready[-1]

        form = Form(TYPE, sink)
        done = Deferred.fromCoroutine(form.receive(body_of(b"fish", "Fish")))
        self.assertNoResult(done)
        self.assertEqual(form.fields, {})
        ready[0].callback(None)
        self.successResultOf(done)
        self.assertEqual(form.fields, {"title": "Fish"})

    def test_types(self) -> None:
        """Only one type of multipart is a form."""
        self.assertTrue(is_form(b" Multipart/Form-Data ; boundary=x"))
        self.assertFalse(is_form(b"multipart/mixed"))
        self.assertTrue(is_multipart(b" MULTIPART/mixed"))
        self.assertFalse(is_multipart(None))
