"""``asciid about``, edit keys, and what ``asciid put`` says about images."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from asciid.cli._saved_keys import EditKeys
from asciid.client import AboutFields, RefusedError
from asciid.model import About, ImageSpec, NewImage
from tests.art.sauces import record
from tests.cli.test_commands import CAT, LINK, SERVER, SHA256, URL, CommandTestCase
from tests.client.worlds import Answered, Lost, LostAfter

ABOUT = ("PUT", f"/image/{SHA256}/about")
DIRECTORY = "state/asciid/edit-keys/http%3A%2F%2Fasciid.test"
KEY = Path(DIRECTORY, SHA256)
OLD_DATE = "2020-01-01T00:00:00Z"


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def names_in(directory: Path | str) -> list[str]:
    """Return the names of the files in a directory."""
    return [each.name for each in Path(directory).iterdir()]


class EditingTestCase(CommandTestCase):
    """Runs commands; `about` reads what the server stores."""

    def about(self, sha256: str = SHA256) -> Any:  # noqa: ANN401 - JSON
        """Return what is said about an image, as a program reads it."""
        return json.loads(self.output("about", "--json", sha256))

    def said(self, sha256: str = SHA256) -> AboutFields:
        """Return what is said about an image, as the client library reads it."""
        return self.world.finish(self.world.client.about(sha256)).fields

    def put(self, *args: str) -> str:
        """Upload a file; return its SHA-256."""
        report = json.loads(self.output("put", "--json", *args))
        sha256: str = report["sha256"]
        return sha256


class PutTests(EditingTestCase):
    """What ``asciid put`` says about an image."""

    def test_options(self) -> None:
        """Every option is stored, whichever way the image is sent."""
        options = ["--title=Ein Käse", "--description=Löcher", "--author=Ada"]
        options += ["--licence=CC-BY-4.0 OR MIT", "--tag=a,b", "--tag", " c d "]
        options += ["--unlisted", "--expires=7d"]
        for text, way in (("whole", "--whole"), ("chunks", "--chunk-size=2")):
            Path("art").write_text(text, encoding="utf-8")
            said = self.said(self.put(*options, way, "art"))
            expires = datetime.fromisoformat(said.expires) - datetime.now(UTC)
            self.assertIn(expires.days, {6, 7})
            expected = AboutFields(
                "Ein Käse",
                "Löcher",
                "Ada",
                "CC-BY-4.0 OR MIT",
                ("a", "b", "c d"),
                listed=False,
                expires=said.expires,
            )
            self.assertEqual(said, expected)

    def test_lines(self) -> None:
        """A description of several lines, which no header field can have, is stored."""
        text = "Two lines,\nand a\u00a0space"
        self.put("--whole", "--description", text, "--title=T", "cat.txt")
        self.assertEqual(self.said(), AboutFields("T", text, listed=True))
        self.output("rm", SHA256)
        Path("a.ans").write_bytes(b"\xb0" + record("A", numbers=(60, 0, 0, 0)))
        said = self.said(self.put("--description", text, "a.ans"))
        self.assertEqual((said.title, said.charset), ("A", "cp437; columns=60"))

    def test_refused(self) -> None:
        """What the server does not accept is refused with the name of the field."""
        for field, value in (
            ("title", "x" * 201),
            ("title", "two\nlines"),
            ("title", "over\u202eride"),
            ("description", "x" * 9_000),
            ("licence", "(MIT"),
            ("tag", ",".join(map(str, range(11)))),
            ("expires", "soon"),
            ("expires", OLD_DATE),
        ):
            for command in (["put", "--whole"], ["put", "--chunked"]):
                name = field.replace("tag", "tags")
                option = f"--{field}={value}"
                self.assert_fails(4, f"{name}: ", *command, option, "cat.txt")
        self.assert_fails(3, "not", "status", SHA256)

    def test_not_utf_8(self) -> None:
        """Arguments that are not UTF-8 are errors of the command line."""
        for option in ("--title", "--tag", "--expires"):
            text = os.fsdecode(b"\xff")
            self.assert_fails(2, "not UTF-8", "put", option, text, "cat.txt")
            self.assert_fails(2, "not UTF-8", "about", option, text, SHA256)

    def test_title(self) -> None:
        """It is that of the record, or the name of the file as far as it is text."""
        Path("a.ans").write_bytes(b"\xb0" + record("Höhle", "Ada", "Group"))
        self.assertEqual(
            self.said(self.put("a.ans")),
            AboutFields("Höhle", author="Ada", listed=True, charset="cp437"),
        )
        Path("b.ans").write_bytes(b"\xb1" + record(group="Group"))
        self.assertEqual(
            self.said(self.put("b.ans")),
            AboutFields("b.ans", author="Group", listed=True, charset="cp437"),
        )
        name = os.fsdecode(b"sub/" + b"\xff\n" + "ö".encode() * 120)
        Path("sub").mkdir()
        Path(name).write_text("c", encoding="utf-8")
        self.assertEqual(self.said(self.put(name)).title, "ö" * 100)
        self.put("--title=", "cat.txt")
        self.assertEqual(self.said().title, "")
        stdin = self.output("put", "--json", "-", stdin="from a pipe")
        self.assertEqual(self.said(json.loads(stdin)["sha256"]).title, "")

    def test_known(self) -> None:
        """What is said about an image that exists is not changed, with a warning."""
        self.put("cat.txt")
        result = self.run_command("put", "--unlisted", "cat.txt")
        self.assertEqual((result.exit_code, result.stdout), (0, f"{LINK}\n"))
        (line,) = result.stderr.splitlines()
        self.assertIn(f"cat.txt: {LINK} was uploaded or registered before", line)
        self.assertTrue(self.said().listed)
        self.output("put", "cat.txt")

    def test_registered(self) -> None:
        """The same if another uploader has registered the image, and its key stays."""
        spec = ImageSpec(SHA256, len(CAT), 15)
        new = NewImage(About("Mine"), bytes(32))
        finish, store = self.world.finish, self.world.store
        for way in ("--whole", "--chunked"):
            finish(store.register(spec, "", new))
            result = self.run_command("put", way, "--title=Yours", "cat.txt")
            self.assertEqual((result.exit_code, result.stdout), (0, f"{LINK}\n"))
            (line,) = result.stderr.splitlines()
            self.assertIn("cat.txt: ", line)
            self.assertIn(" was uploaded or registered before", line)
            self.assertEqual(self.said().title, "Mine")
            self.assertFalse(KEY.exists())
            finish(store.delete(SHA256))
        # Without a key of its own that registration is replaced.
        finish(store.register(spec, "", NewImage(About("Spam"))))
        self.put("--whole", "--title=Mine", "cat.txt")
        self.assertEqual(self.said().title, "Mine")
        self.output("rm", SHA256)

    def test_registered_to_say_more(self) -> None:
        """What header fields cannot say is kept, with or without a key to take."""
        fields = AboutFields("Cat", description="two\nlines")
        client, finish = self.world.client, self.world.finish
        uploaded = finish(client.put(CAT.encode(), about=fields))
        self.assertTrue(uploaded.described)
        self.assertEqual(self.said(), replace(fields, listed=True))

    def test_resumed(self) -> None:
        """The command that resumes an upload says the same."""
        self.reactor.interrupt_after = 0
        self.world.network.always(Lost())
        options = ["--title=a b", "--description=", "--tag=a,b", "--tag=c"]
        result = self.run_command("put", *options, "--unlisted", "cat.txt")
        again = "'--title=a b' --description= --tag=a,b,c --unlisted -- cat.txt"
        self.assertTrue(result.stderr.endswith(f" {again}\n"), result.stderr)
        result = self.run_command("put", "--listed", "cat.txt")
        self.assertTrue(result.stderr.endswith(" --listed -- cat.txt\n"), result.stderr)


class KeyTests(EditingTestCase):
    """Edit keys."""

    def test_kept(self) -> None:
        """A key is kept for its user alone, used, and removed with its image."""
        for way in ("--whole", "--chunked"):
            self.put(way, "cat.txt")
            self.assertEqual(mode(KEY), 0o600)
            self.assertEqual(names_in(DIRECTORY), [SHA256])
            for directory in (KEY.parents[0], KEY.parents[1], KEY.parents[2]):
                self.assertEqual(mode(directory), 0o700)
            self.output("about", "--title=Cat", SHA256)
            self.assertEqual(self.output("rm", URL), "")
            self.assertEqual(names_in(DIRECTORY), [])

    def test_never_shown(self) -> None:
        """No output has the key, nor has any URL."""
        printed = [self.output("put", "--json", "--chunk-size=15", "cat.txt")]
        key = KEY.read_text(encoding="ascii").strip()
        self.assertGreaterEqual(len(key.replace("-", "")) * 5, 128)
        printed.append(self.output("about", "--title=x", "--json", SHA256))
        printed.append(self.output("about", SHA256))
        self.assertNotIn(key, "".join(printed))
        self.assertNotIn(key, str(self.world.network.asked))

    def test_before_the_chunks(self) -> None:
        """The key of an upload that is interrupted is kept as well."""
        self.reactor.interrupt_after = 2
        self.world.network.faults = lambda _method, path: (
            Lost() if path.endswith("/chunks") else None
        )
        result = self.run_command("put", "--chunk-size=15", "--title=a", "cat.txt")
        self.assertEqual(result.exit_code, 130)
        self.assertTrue(KEY.exists())
        self.reactor.interrupt_after = -1
        self.world.network.always(None)
        self.put("--chunk-size=15", "--title=a", "cat.txt")
        self.output("about", "--title=Mine", SHA256)

    def test_file(self) -> None:
        """Another file can hold the key of one image."""
        self.put("cat.txt")
        KEY.rename("key")
        self.assert_fails(4, f"no edit key of {SHA256} in ", "rm", SHA256)
        self.assert_fails(4, "--edit-key-file", "about", "--title=x", SHA256)
        key = ("--edit-key-file", "key")
        self.output("about", "--author=Ada", *key, SHA256)
        self.assert_fails(2, "one image", "rm", *key, SHA256, "0" * 64)
        Path("wrong").write_text("abc", encoding="ascii")
        self.assert_fails(4, "ey", "rm", "--edit-key-file=wrong", SHA256)
        Path("wrong").write_text("two words", encoding="ascii")
        self.assert_fails(
            1, "wrong does not hold one edit key", "rm", "--edit-key-file=wrong", URL
        )
        self.output("rm", *key, SHA256)
        self.assert_fails(3, "", "about", SHA256)

    def test_several(self) -> None:
        """An image that cannot be deleted does not stop the others."""
        dog, cow = sha256(b"dog").hexdigest(), sha256(b"cow").hexdigest()
        for name in ("dog", "cow"):
            Path(name).write_text(name, encoding="ascii")
        self.output("put", "cat.txt", "dog", "cow")
        Path(DIRECTORY, dog).unlink()
        Path(DIRECTORY, cow).write_text("", encoding="ascii")
        result = self.run_command("rm", "0" * 64, dog, cow, LINK, SHA256)
        self.assertEqual((result.exit_code, result.stdout), (3, ""))
        lines = result.stderr.splitlines()
        for line, name, said in zip(
            lines,
            ("0" * 64, dog, cow, SHA256),
            ("not registered", "no edit key", "one edit key", "not registered"),
            strict=True,
        ):
            self.assertTrue(line.startswith(f"asciid: {name}: "), line)
            self.assertIn(said, line)
        # A server that does not respond stops it.
        self.world.network.always(Lost())
        self.world.network.asked.clear()
        self.assert_fails(1, "lost", "rm", dog, cow)
        self.assertEqual(
            {path for _, path in self.world.network.asked}, {f"/image/{dog}"}
        )

    def test_gone(self) -> None:
        """The key of an image that somebody else deleted is removed."""
        self.put("cat.txt")
        key = KEY.read_text(encoding="ascii").strip()
        finish, client = self.world.finish, self.world.client
        finish(client.delete(SHA256, edit_key=key))
        self.world.network.always(Answered(404, b'{"detail": "A wrong server"}'))
        self.assert_fails(3, "A wrong server", "rm", SHA256)
        self.assertTrue(KEY.exists())
        self.world.network.always(None)
        self.assert_fails(3, "", "about", "--title=x", SHA256)
        self.assertFalse(KEY.exists())

    def test_not_removed(self) -> None:
        """A deletion succeeds even if the entry cannot be removed."""
        self.put("cat.txt")
        refused = PermissionError(13, "Permission denied", "key")
        with patch.object(Path, "unlink", side_effect=refused):
            result = self.run_command("rm", SHA256)
        self.assertEqual(result.exit_code, 0)
        self.assertIn("cannot remove an edit key: key: Permission", result.stderr)

    def test_unreadable(self) -> None:
        """A key that cannot be read is an error, and no reason to try without."""
        self.put("cat.txt")
        KEY.write_bytes(b"")
        self.assert_fails(1, "does not hold one edit key", "rm", SHA256)
        KEY.unlink()
        KEY.mkdir()
        self.assert_fails(1, "Is a directory", "rm", SHA256)

    def test_elsewhere(self) -> None:
        """If the state directory cannot be written, a warning says where the key is."""
        Path("state").write_bytes(b"")
        os.environ["TMPDIR"] = str(self.directory)
        self.addCleanup(os.environ.pop, "TMPDIR")
        self.patch(tempfile, "tempdir", None)
        result = self.run_command("put", "cat.txt")
        self.assertEqual((result.exit_code, result.stdout), (0, f"{LINK}\n"))
        (line,) = result.stderr.splitlines()
        self.assertIn("asciid: cat.txt: cannot write to ", line)
        self.assertIn(f"{DIRECTORY}: ", line)
        place = Path(line.rpartition("the edit key is in ")[2])
        self.assertEqual(place.parent, self.directory)
        self.assertEqual(mode(place), 0o600)
        Path("state").unlink()
        self.output("rm", "--edit-key-file", str(place), SHA256)

    def test_nowhere(self) -> None:
        """If no file can be written at all, the warning has the key."""
        full = OSError(28, "No space left on device")
        with patch.object(os, "fsync", side_effect=full):
            result = self.run_command("put", "cat.txt")
        self.assertIn(f"{DIRECTORY}: No space left on device; ", result.stderr)
        _, _, key = result.stderr.strip().rpartition(": ")
        self.assertEqual(names_in(DIRECTORY), [])
        Path("key").write_text(key, encoding="ascii")
        self.output("rm", "--edit-key-file=key", SHA256)

    def test_part(self) -> None:
        """A key of which only a part can be written is not kept as if it were one."""
        with patch.object(os, "write", return_value=3):
            result = self.run_command("put", "cat.txt")
        self.assertIn("No space left on device; the edit key is here", result.stderr)
        self.assertEqual(names_in(DIRECTORY), [])

    def test_other_answers(self) -> None:
        """A server may send no key, or nonsense in its place."""
        for headers in (
            {},
            {"Asciid-Edit-Key": "a b"},
            {"Asciid-Edit-Key": "x" * 9_999},
        ):
            self.world.network.always(Answered(201, b"", headers))
            self.output("put", "cat.txt")
            self.assertFalse(KEY.exists())

    def test_lost(self) -> None:
        """If the response with a key may be lost, a warning says so."""
        for way, request in (
            ("--whole", ("PUT", f"/image/{SHA256}")),
            ("--chunked", ("POST", "/image")),
        ):
            self.world.network.first(LostAfter(), request=request)
            result = self.run_command("put", way, "cat.txt")
            self.assertEqual((result.exit_code, result.stdout), (0, f"{LINK}\n"))
            (line,) = result.stderr.splitlines()
            self.assertIn("cat.txt: a response was lost, and the edit key", line)
            self.world.finish(self.world.store.delete(SHA256))
        Path("state").write_bytes(b"")
        self.world.network.first(LostAfter(), request=("POST", "/image"))
        result = self.run_command("put", "--chunked", "cat.txt")
        self.assertIn("a response was lost", result.stderr)
        Path("state").unlink()
        self.world.finish(self.world.store.delete(SHA256))
        # A request that was lost before the server saw it is no loss, nor is the
        # response to one about an image whose key is saved.
        self.world.network.first(Lost(), request=("POST", "/image"))
        self.output("put", "--chunked", "cat.txt")
        self.world.network.first(LostAfter(), request=("PUT", f"/image/{SHA256}"))
        self.output("put", "--whole", "cat.txt")

    def test_token(self) -> None:
        """With a token no key is needed, and both are sent if there are both."""
        self.put("cat.txt")
        self.world.network.always(Answered(204))
        self.output("rm", SHA256, environ={"ASCIID_TOKEN": "secret"})
        fields = self.world.network.fields[-1]
        self.assertEqual(fields.getRawHeaders("Authorization"), ["Bearer secret"])
        self.assertIsNotNone(fields.getRawHeaders("Asciid-Edit-Key"))
        self.output("rm", SHA256, environ={"ASCIID_TOKEN": "secret"})
        fields = self.world.network.fields[-1]
        self.assertIsNone(fields.getRawHeaders("Asciid-Edit-Key"))


class DirectoryTests(SynchronousTestCase):
    """The files of edit keys."""

    def setUp(self) -> None:
        """Have a state directory."""
        self.state = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": str(self.state)})
        self.keys = EditKeys(SERVER)

    def test_private(self) -> None:
        """Directories that others may read are closed to them."""
        directory = self.keys.directory
        directory.mkdir(parents=True)
        self.state.chmod(0o755)
        for each in (directory, directory.parents[0], directory.parents[1]):
            each.chmod(0o755)
        self.keys.save(SHA256, "key")
        for each in (directory, directory.parents[0], directory.parents[1]):
            self.assertEqual(mode(each), 0o700)
        self.assertEqual(mode(self.state), 0o755)

    def test_place(self) -> None:
        """It is below the home directory, unless the variable names another."""
        os.environ["HOME"] = "/home/ada"
        for state in ("", "relative/path"):
            os.environ["XDG_STATE_HOME"] = state
            self.assertTrue(
                str(self.keys.directory).startswith("/home/ada/.local/state/asciid/")
            )
        with patch.object(Path, "home", side_effect=RuntimeError):
            self.assertRaises(FileNotFoundError, self.keys.file_of, SHA256)
            warning = self.keys.save_somewhere(SHA256, "key")
        self.assertIn("cannot write to the state directory: no home directory", warning)
        Path(warning.rpartition(" ")[2]).unlink()

    def test_servers(self) -> None:
        """Each server has its own entry of a hash, also one with a long URL."""
        servers = [SERVER, f"{SERVER}:81", "https://asciid.test"]
        servers += [f"{SERVER}/{'x' * 999}", f"{SERVER}/{'x' * 998}y"]
        for server in servers:
            EditKeys(server).save(SHA256, server)
        for server in servers:
            path = EditKeys(server).file_of(SHA256)
            self.assertIsNotNone(path)
            assert path is not None
            self.assertEqual(path.read_text(encoding="ascii"), f"{server}\n")

    def test_in_the_way(self) -> None:
        """If a key cannot get its name, nothing is left of it there."""
        (self.keys.directory / SHA256).mkdir(parents=True)
        self.assertRaises(IsADirectoryError, self.keys.save, SHA256, "key")
        self.assertEqual(names_in(self.keys.directory), [SHA256])

    def test_at_once(self) -> None:
        """Several savers at once lose nothing, and a reader sees whole entries."""
        hashes = [f"{number:064x}" for number in range(20)]

        def save() -> None:
            for each in hashes:
                self.keys.save(each, "key" * 99)

        threads = [Thread(target=save) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for each in hashes:
                path = self.keys.file_of(each)
                if path is not None:
                    self.assertEqual(
                        path.read_text(encoding="ascii"), "key" * 99 + "\n"
                    )
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(names_in(self.keys.directory)), hashes)


class AboutTests(EditingTestCase):
    """``asciid about``."""

    def setUp(self) -> None:
        """Have an image."""
        super().setUp()
        self.put("--title=Cat", "--tag=a,b", "cat.txt")

    def test_shown(self) -> None:
        """It prints what is not empty, without control characters, or JSON."""
        self.assertEqual(
            self.output("about", SHA256),
            f"sha256: {SHA256}\nurl: {URL}\nlink: {LINK}\n"
            "title: Cat\ntags: a, b\nlisted: yes\n",
        )
        expected = {
            "sha256": SHA256,
            "url": URL,
            "link": LINK,
            "title": "Cat",
            "description": "",
            "author": "",
            "licence": "",
            "tags": ["a", "b"],
            "listed": True,
            "expires": None,
            "charset": "",
        }
        self.assertEqual(self.about(), expected)
        evil = {"title": "a\x1b[2J", "description": "b\nc\x9b\n\nd", "listed": False}
        self.world.network.always(Answered(200, json.dumps(evil).encode()))
        shown = self.output("about", SHA256)
        self.assertIn("\ntitle: a?[2J\ndescription: b\n  c?\n  \n  d\n", shown)
        self.assertIn("listed: no\n", shown)

    def test_changed(self) -> None:
        """Options change what they name, and nothing else."""
        printed = self.output("about", "--author=Ada", "--unlisted", SHA256)
        self.assertIn("author: Ada\nlicence", printed.replace("tags", "licence"))
        self.assertEqual(
            self.said(), AboutFields("Cat", author="Ada", tags=("a", "b"), listed=False)
        )
        self.output("about", "--title=", "--tag=", "--listed", "--expires=1h", SHA256)
        self.assertNotEqual(self.said().expires, "")
        self.output("about", "--expires=", SHA256)
        self.assertEqual(self.said(), AboutFields(author="Ada", listed=True))

    def test_refused(self) -> None:
        """An invalid value changes nothing."""
        self.assert_fails(4, "licence: ", "about", "--licence=(", "--title=x", SHA256)
        self.assertEqual(self.said().title, "Cat")
        self.assert_fails(3, "", "about", "0" * 64)
        self.assert_fails(3, "", "about", "--title=x", "0" * 64)

    def test_at_once(self) -> None:
        """A change by another client in between is kept."""
        key = KEY.read_text(encoding="ascii").strip()
        client = self.world.client
        others = [AboutFields("Other", author="Ada", listed=True)]

        def faults(*request: str) -> None:
            if request == ABOUT and others:
                changed = client.set_about(SHA256, others.pop(), edit_key=key)
                changed.addErrback(self.fail)

        self.world.network.faults = faults
        self.output("about", "--title=Mine", SHA256)
        self.assertEqual(self.said(), AboutFields("Mine", author="Ada", listed=True))
        self.world.network.always(Answered(412, b'{"detail": "Changed."}'), ABOUT)
        self.assert_fails(4, "Changed.", "about", "--title=x", SHA256)
        self.assertEqual(self.world.network.asked.count(ABOUT), 3 + 3)

    def test_lost(self) -> None:
        """If the response is lost, the change is made once more."""
        self.world.network.first(LostAfter(), request=ABOUT)
        self.output("about", "--title=x", SHA256)
        self.assertEqual(self.said().title, "x")

    def test_etag(self) -> None:
        """A program that gives an entity tag overwrites no other change."""
        key = KEY.read_text(encoding="ascii").strip()
        finish, client = self.world.finish, self.world.client
        stored = finish(client.about(SHA256))
        changing = client.set_about(
            SHA256, AboutFields("x"), etag=stored.etag, edit_key=key
        )
        finish(changing)
        with self.assertRaises(RefusedError) as raised:
            finish(
                client.set_about(
                    SHA256, AboutFields("y"), etag=stored.etag, edit_key=key
                )
            )
        self.assertEqual(raised.exception.status, 412)
        with self.assertRaises(ValueError) as malformed:
            client.set_about(SHA256, AboutFields(), edit_key="two words")
        self.assertNotIn("two words", str(malformed.exception))

    def test_nonsense(self) -> None:
        """A document that is none is an error of one line."""
        for body in (b"", b"[]", b'{"title": 1}', b'{"tags": "x"}', b"\xff"):
            self.world.network.always(Answered(200, body))
            self.world.retries = 0
            self.assert_fails(1, "invalid document about the image", "about", SHA256)


class LibraryTests(EditingTestCase):
    """The same with `asciid.client`."""

    def test_key(self) -> None:
        """A program receives the key of a new image, and of no other."""
        keys: dict[str, str] = {}
        finish, client = self.world.finish, self.world.client
        for text, chunk_size in ((CAT, None), (CAT, None), ("dog\n" * 9, 4)):
            uploading = client.upload(
                text.encode(), chunk_size, on_edit_key=keys.__setitem__
            )
            finish(uploading)
        self.assertEqual(len(keys), 2)
        for name, key in keys.items():
            finish(client.delete(name, edit_key=key))
