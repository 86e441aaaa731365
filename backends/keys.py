"""The keys under which credentials are encrypted: where they come from, and the seal that binds a secret to its row."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import Dialect

KEY_BYTES = 32
NONCE_BYTES = 12
ENVIRONMENT_KEYS, ENVIRONMENT_FILE = "JOBQUEUE_ENCRYPTION_KEYS", "JOBQUEUE_KEY_FILE"

_HOW_TO = (
    "make one with `supervisor secrets new-key`, and put it into the environment variable JOBQUEUE_ENCRYPTION_KEYS, or into "
    "a file (mode 600) that `encryption: {key_file: ...}` or JOBQUEUE_KEY_FILE names"
)


_RESTORE = "restore it from your backup or, if no secret was ever kept, " + _HOW_TO


class KeyProblem(Exception):
    """A secret cannot be encrypted or read; the message says which key is at fault and what to do, never the secret."""


def new_key() -> str:
    """A fresh key as text: 32 random bytes in base64url."""
    return _text(os.urandom(KEY_BYTES))


def add_key(file: Path) -> str:
    """Put a fresh key in front of those of a key file, made if need be, at once for its readers; returns the new key's id.

    Raises `KeyProblem`.
    """
    file, before = Path(os.path.realpath(file)), ""
    if file.exists():
        _version(file)
        before = _read(file)
        Ring.of_text(before, str(file))
    key = new_key()
    os.replace(_written_beside(file, f"{key}\n{before}", like=file if before else None), file)
    return Key(key, str(file)).id


class Key:
    """One key. Its `id` is derived from it by a hash, and tells nothing of it."""

    def __init__(self, text: str, place: str) -> None:
        try:
            raw = _bytes(text.rstrip("="))
        except ValueError:
            raw = b""
        if len(raw) != KEY_BYTES:
            raise KeyProblem(f"{place} holds something that is not a key (32 bytes in base64url); {_RESTORE}")
        self.id = hashlib.sha256(b"jobqueue key id\0" + raw).hexdigest()[:16]
        self.cipher = AESGCM(raw)


class Ring:
    """Keys that were read together, newest first: the first encrypts, all decrypt."""

    def __init__(self, texts: Sequence[str], place: str) -> None:
        self.keys = {key.id: key for key in [Key(text, place) for text in texts]}
        if not self.keys:
            raise KeyProblem(f"{place} holds no key; {_RESTORE}")
        self.newest = next(iter(self.keys.values()))

    @classmethod
    def of_text(cls, text: str, place: str) -> Ring:
        """The keys of a key file: one a line; empty lines and those that begin with # are passed over."""
        lines = [line.strip() for line in text.splitlines()]
        return cls([line for line in lines if line and not line.startswith("#")], place)


class Keyring:
    """The keys of one engine. A key file is read again when it changed, or when a key is asked for that is not known."""

    def __init__(
        self, file: Path | None = None, database: Path | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._given, self._database, self._environment = file, database, environment
        self._ring: Ring | None = None
        self._version: object = None

    @property
    def file(self) -> Path | None:
        """The key file that counts when the environment holds no keys: the given one, the environment's, or the database's."""
        named = self._environment.get(ENVIRONMENT_FILE, "").strip()
        return self._given or (Path(named).absolute() if named else self._own_file)

    @property
    def keys_in_environment(self) -> str:
        """The keys that the environment holds, with commas between them; empty when there are none."""
        return self._environment.get(ENVIRONMENT_KEYS, "").strip()

    @property
    def place(self) -> str:
        """Where the keys are looked for, in words."""
        if not self.keys_in_environment:
            return str(self.file or "the configuration")
        return f"{ENVIRONMENT_KEYS} (which goes before {self.file})" if self.file else ENVIRONMENT_KEYS

    @property
    def _own_file(self) -> Path | None:
        return Path(f"{self._database}.key") if self._database else None

    @property
    def can_be_made(self) -> bool:
        """Whether the keys should stand beside a SQLite database, and are not there: only such a file is made at first need."""
        file = None if self.keys_in_environment else self.file
        return file is not None and file == self._own_file and not os.path.lexists(file)

    @property
    def is_named(self) -> bool:
        """Whether anybody said where the keys are, or they are where they are made."""
        return bool(self.keys_in_environment or self.file) and not self.can_be_made

    def make(self) -> None:
        """Make the file that `can_be_made`, with a first key. The caller sees to it that no secret lies under a former one.

        Processes that do this at once agree on one key. Raises `KeyProblem`.
        """
        assert self._own_file is not None
        assert self._database is not None
        _make(self._own_file, self._database)

    def ring(self) -> Ring:
        """The keys as they are now; none is ever made here. Raises `KeyProblem`."""
        if keys := self.keys_in_environment:
            texts = [each.strip() for each in keys.split(",") if each.strip()]
            return self._remembered(keys, lambda: Ring(texts, ENVIRONMENT_KEYS))
        file = self.file
        if file is None:
            raise KeyProblem(f"there is no key to encrypt secrets with; {_HOW_TO}")
        return self._remembered(_version(file), lambda: Ring.of_text(_read(file), str(file)))

    def seal(self, value: str, row: Sequence[object]) -> tuple[str, str]:
        """The id of the newest key, and `value` encrypted under it for the row that these parts name. Raises `KeyProblem`."""
        key, nonce = self.ring().newest, os.urandom(NONCE_BYTES)
        plain = value.encode("utf-8", "surrogatepass")
        return key.id, _text(nonce + key.cipher.encrypt(nonce, plain, _bound_to(row, key.id)))

    def open(self, key_id: str, sealed: str, row: Sequence[object]) -> str:
        """What was sealed for this very row. Raises `KeyProblem` for a key that is missing and for what was tampered with."""
        key = self._key(key_id)
        try:
            raw = _bytes(sealed)
            plain = key.cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(row, key_id))
        except (InvalidTag, ValueError):
            where = " ".join(str(part) for part in row)
            raise KeyProblem(
                f"the secret of {where} was changed or comes from another row: key {key_id} does not open it; "
                "store it again: supervisor secrets set --help"
            ) from None
        return plain.decode("utf-8", "surrogatepass")

    def _key(self, key_id: str) -> Key:
        found = self.ring().keys.get(key_id)
        if found is None:
            self._version = None
            found = self.ring().keys.get(key_id)
        if found is None:
            what = f"a secret lies under key {key_id}, which {self.place} does not hold"
            raise KeyProblem(f"{what}; add that key there as an older one")
        return found

    def _remembered(self, version: object, read: Callable[[], Ring]) -> Ring:
        if self._ring is None or self._version != version:
            self._ring, self._version = read(), version
        return self._ring


# By dialect: every variant of an engine, and every connection of theirs, has the same one.
_keyrings: WeakKeyDictionary[Dialect, Keyring] = WeakKeyDictionary()


def remember_keyring(engine: Engine, key_file: Path | None) -> None:
    """Give an engine its keyring; called once, when it is opened."""
    database = engine.url.database if engine.dialect.name == "sqlite" else None
    _keyrings[engine.dialect] = Keyring(key_file, Path(database) if database else None)


def key_file_of(engine: Engine) -> Path | None:
    """The key file that counts for this engine; None when the environment holds the keys, or there is none."""
    ring = keyring_of(engine)
    return None if ring.keys_in_environment else ring.file


def keyring_of(bind: Engine | Connection) -> Keyring:
    """The keyring of an engine. One that `open_engine` did not open has the environment's keys only."""
    return _keyrings.setdefault(bind.dialect, Keyring())


def _make(file: Path, database: Path) -> None:
    """Make a key file with a fresh key, unless another process was faster: all of them agree on one."""
    beside = _written_beside(file, f"{new_key()}\n", like=database)
    try:
        os.link(beside, file)
    except FileExistsError:
        return
    except OSError as error:
        raise _not_made(file, error) from None
    finally:
        os.unlink(beside)


def _written_beside(file: Path, text: str, like: Path | None) -> Path:
    """A complete file of its own, mode 0600, ready to take the name of `file`; it belongs to the owner of `like`."""
    beside = file.with_name(f"{file.name}.{os.urandom(6).hex()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as new:
            new.write(text)
            if like is not None and (owner := os.stat(like)).st_uid != os.geteuid():
                with suppress(PermissionError):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            new.flush()
            os.fsync(descriptor)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _not_made(file, error) from None
    return beside


def _not_made(file: Path, error: OSError) -> KeyProblem:
    return KeyProblem(f"the key file {file} cannot be made: {error.strerror}; {_HOW_TO}")


def _version(file: Path) -> object:
    """Something that changes when the file does. Raises `KeyProblem` when there is none, or others may read it."""
    try:
        found = file.stat()
    except OSError as error:
        raise _not_read(file, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise KeyProblem(f"the key file {file} is not a file but a folder or device; name a file with a key on each line")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise KeyProblem(f"others can read the key file {file}; run: chmod 600 {file}")
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError as error:
        raise _not_read(file, error) from None


def _not_read(file: Path, error: OSError) -> KeyProblem:
    mine = f"run this as the user whom it belongs to, or make it that of uid {os.geteuid()}"
    fix = mine if isinstance(error, PermissionError) else _RESTORE
    return KeyProblem(f"the key file {file} cannot be read: {error.strerror}; {fix}")


def _bound_to(row: Sequence[object], key_id: str) -> bytes:
    """What must be the same when it is decrypted, in a form in which no two rows look alike."""
    return json.dumps(["jobqueue secret", key_id, *map(str, row)]).encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """The bytes of base64url text, padded or not. Raises `ValueError`."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
