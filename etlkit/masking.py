"""The masker: what keeps secrets out of everything that the kit writes or prints.

A value is secret for one of two reasons. Its *name* says so: a key of a dict, a Variable or a field of a Connection
whose name contains one of `SENSITIVE_NAMES`. Or the value itself was *registered* by `mask_secret`, as the kit does
with every password it reads; then it is found inside any text. `redact` hides both kinds in a value and agrees with
Airflow's function of that name. What the kit shows goes through two stricter ones: `mask` for a text, which also finds
a secret spelled as in a URL, in JSON, in HTML or in a Python literal, and `masked` for a value, at any depth.

>>> masker = Masker()
>>> masker.redact({"user": "anna", "db-password": "hunter22"})
{'user': 'anna', 'db-password': '***'}
>>> masker.mask_secret("pa ss/word")
>>> masker.mask("postgres://anna:pa%20ss%2Fword@db and {'p': 'pa ss/word'}")
"postgres://anna:***@db and {'p': '***'}"

One `masker` serves the process; the functions of this module are its methods. With no secret registered, `mask` returns
its text at once.
"""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from logging import LogRecord

STARS = "***"

SENSITIVE_NAMES = frozenset(
    {
        *("access_key", "access_token", "api_key", "apikey", "auth_header", "authorization", "bearer"),
        *("connection_string", "dsn", "keyfile_dict", "passphrase", "passwd", "password", "private_key"),
        *("proxies", "proxy", "proxy_password", "secret", "service_account", "service_key", "token", "webhook_url"),
    }
)
"""What makes a name sensitive when it is a part of it (Airflow's DEFAULT_SENSITIVE_FIELDS)."""

MIN_LENGTH = 5
"""Shorter values are not looked for: they would be found everywhere ([logging] min_length_masked_secret)."""

MAX_DEPTH = 5
"""How deep `redact` looks for registered values (names are looked at in any depth)."""

NOT_SECRET = frozenset({"airflow"})
"""Values that are too common to be looked for."""


class Masker:
    """Knows which names are sensitive and which values are secret.

    `names` are the parts of names that make them sensitive.
    """

    def __init__(self, names: Iterable[str] = SENSITIVE_NAMES) -> None:
        self.names = set(names)
        self._secrets: frozenset[str] = frozenset()

    def __reduce__(self) -> str | tuple[Any, ...]:
        # A function that is copied for another process may hold the masker; the secrets do not travel with it.
        return "masker" if self is masker else (Masker, (tuple(self.names),))

    def should_hide_value_for_key(self, name: object) -> bool:
        """Whether a name is sensitive: case and punctuation make no difference.

        >>> [name for name in ("API-Key", "tokenizer", "pwd", None) if masker.should_hide_value_for_key(name)]
        ['API-Key', 'tokenizer']
        """
        if not isinstance(name, str):
            return False
        normal = re.sub(r"\W+", "_", name.strip().lower())
        return any(part in normal for part in self.names)

    # --- registering ---

    def mask_secret(self, secret: Any, name: str | None = None) -> None:
        """Register a value, so that it is hidden wherever it turns up; with `name`, only if that is sensitive.

        Of a dict, the values with sensitive keys are registered; of a list, all. Only strings of `MIN_LENGTH` or more.
        """
        if isinstance(secret, str):
            if worth_hiding(secret) and (not name or self.should_hide_value_for_key(name)):
                self._secrets |= {secret}
        elif isinstance(secret, Mapping):
            for key, value in secret.items():
                self.mask_secret(value, key)
        elif isinstance(secret, Iterable):
            for value in secret:
                self.mask_secret(value, name)

    def learn(self, value: Any, name: str | None = None) -> None:
        """Register what is secret in a value by its name or by that of a key in it; stricter than `mask_secret`.

        Under a sensitive name everything is secret, whatever its own key, and numbers too.
        """
        if isinstance(value, Mapping):
            for key, part in value.items():
                self.learn(part, name if self.should_hide_value_for_key(name) else key)
        elif isinstance(value, (list, tuple, set, frozenset)):
            for part in value:
                self.learn(part, name)
        elif not isinstance(value, (bool, type(None))) and self.should_hide_value_for_key(name):
            self.mask_secret(str(value))

    @property
    def secrets(self) -> frozenset[str]:
        """The registered values, for a process that works for this one."""
        return self._secrets

    def forget(self) -> None:
        """Forget every registered value."""
        self._secrets = frozenset()

    # --- hiding ---

    def mask(self, text: str) -> str:
        """`text` without any registered secret, however it is spelled there."""
        if not self._secrets:
            return text
        for core, secret in cores(self._secrets):
            if core in text:
                text = spelled_pattern(secret).sub(STARS, text)
        return text

    def redact(
        self, value: Any, name: str | None = None, max_depth: int | None = None, replacement: str = STARS
    ) -> Any:
        """A copy of `value` without what is secret, as Airflow's `redact` gives it; `name` is what the value is called.

        Only strings are hidden, and sets become tuples. Registered values are found as they are, down to `max_depth`.
        """
        return _Redaction(self, self._mask_exact, max_depth or MAX_DEPTH, replacement).of(value, name)

    def masked(self, value: Any, name: str | None = None) -> Any:
        """`value` as it may be shown: like `redact`, but at any depth, in any spelling, numbers too; sets stay sets.

        >>> masker.masked({"connection": {"password": 12345678, "port": 5432}})
        {'connection': {'password': '***', 'port': 5432}}
        """
        return _Redaction(self, lambda text, _: self.mask(text), strict=True).of(value, name)

    def unmasked(self, new: Any, old: Any, name: str | None = None) -> Any:
        """`new`, what `masked` gave for `old` and somebody has edited, with the parts that were left alone put back.

        >>> masker.unmasked({"password": "***", "user": "eva"}, {"password": "hunter22", "user": "anna"})
        {'password': 'hunter22', 'user': 'eva'}
        """
        if new == self.masked(old, name):
            return old
        if isinstance(new, dict) and isinstance(old, dict):
            sensitive = self.should_hide_value_for_key(name)
            pairs = {key: (part, old.get(key), name if sensitive else key) for key, part in new.items()}
            return {key: self.unmasked(*pair) for key, pair in pairs.items()}
        if isinstance(new, list) and isinstance(old, list):
            parts = [self.unmasked(part, before, name) for part, before in zip(new, old, strict=False)]
            return [*parts, *new[len(parts) :]]
        return new

    def merge(self, new: Any, old: Any, name: str | None = None, max_depth: int | None = None) -> Any:
        """`new`, what `redact` gave for `old` and somebody has edited, with the `***` of sensitive names put back."""
        return self._merged(new, old, name, False, max_depth or MAX_DEPTH)

    def _merged(self, new: Any, old: Any, name: object, sensitive: bool, depth_left: int) -> Any:
        if depth_left < 0:
            return old if new == STARS else new
        sensitive = sensitive or self.should_hide_value_for_key(name)
        if isinstance(new, dict) and isinstance(old, dict):
            return {
                key: self._merged(part, old[key], None if sensitive else key, sensitive, depth_left - 1)
                if key in old
                else part
                for key, part in new.items()
            }
        if isinstance(new, (list, tuple)) and type(new) is type(old):
            pairs = zip(new, old, strict=False)
            parts = [self._merged(part, before, None, sensitive, depth_left - 1) for part, before in pairs]
            return type(new)([*parts, *new[len(parts) :]])
        return old if sensitive and isinstance(new, str) and new == STARS else new

    def _mask_exact(self, text: str, replacement: str) -> str:
        return exact_pattern(self._secrets).sub(lambda _: replacement, text) if self._secrets else text

    # --- where text leaves the process ---

    def filter(self, record: LogRecord) -> bool:
        """Hide secrets in a log record: `handler.addFilter(masker)` makes the masker a filter of that handler."""
        if self._secrets:
            with contextlib.suppress(Exception):  # a message that does not fit its arguments: logging complains itself
                record.msg, record.args = record.getMessage(), ()
            if record.exc_info and record.exc_info[1] is not None:
                record.exc_text = self.format_exception(record.exc_info[1]).rstrip("\n")
            record.__dict__.update(self.masked(record.__dict__))
        return True

    def format_exception(self, error: BaseException) -> str:
        """The traceback of an exception, as Python prints it, without secrets, and in characters that have a code."""
        return storable(self.mask("".join(traceback.format_exception(error))))

    def excepthook(self, kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        """What `sys.excepthook` may be set to, so that the traceback of an uncaught exception shows no secret."""
        sys.stderr.write(self.format_exception(error.with_traceback(frames)))


class _Redaction:
    """One walk through a value, hiding what is secret; `strict` as in `Masker.masked`."""

    def __init__(
        self,
        masker: Masker,
        replace: Callable[[str, str], str],
        max_depth: int = sys.maxsize,
        replacement: str = STARS,
        strict: bool = False,
    ) -> None:
        self._is_sensitive = masker.should_hide_value_for_key
        self._replace, self._max_depth, self._replacement = replace, max_depth, replacement
        self._strict = strict

    def of(self, value: Any, name: object) -> Any:
        """A copy of `value` to show; `name` is what it is called."""
        try:
            return self._walk(value, name, 0)
        except RecursionError:  # a list that contains itself: rather nothing than a secret
            return "<redaction-failed>"

    def _walk(self, item: Any, name: object, depth: int) -> Any:
        if self._is_sensitive(name):
            return self._hide(item, depth)
        if isinstance(item, Mapping):
            return {key: self._walk(part, key, depth + 1) for key, part in item.items()}
        if isinstance(item, (list, tuple, set, frozenset)):
            return self._sequence(item, (self._walk(part, None, depth + 1) for part in item))
        if depth > self._max_depth:
            return item
        if isinstance(item, Enum):
            return self._walk(item.value, name, depth)
        return self._replace(item, self._replacement) if isinstance(item, str) else item

    def _hide(self, item: Any, depth: int) -> Any:
        if depth > self._max_depth or isinstance(item, str):
            return self._replacement
        if isinstance(item, Mapping):
            return {key: self._hide(part, depth + 1) for key, part in item.items()}
        if isinstance(item, (list, tuple, set, frozenset)):
            return self._sequence(item, (self._hide(part, depth + 1) for part in item))
        return self._replacement if self._strict and not isinstance(item, (bool, type(None))) else item

    def _sequence(self, item: Any, parts: Iterable[Any]) -> Any:
        if isinstance(item, (set, frozenset)) and self._strict:
            return set(parts)
        return list(parts) if isinstance(item, list) else tuple(parts)


class MaskedStream:
    """A text stream whose writes are masked first; all else is the stream's own.

    >>> sys.stdout = MaskedStream(sys.stdout)  # doctest: +SKIP
    """

    def __init__(self, stream: TextIO, mask: Callable[[str], str] | None = None) -> None:
        self._stream, self._mask = stream, mask or masker.mask

    def write(self, text: str) -> int:
        self._stream.write(self._mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    @property
    def unmasked(self) -> TextIO:
        """The stream itself, for what somebody asked to see as it is."""
        return self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def one_line(error: BaseException) -> str:
    """An exception as one line: its type and message, without secrets.

    >>> one_line(ValueError("bad", 1))
    "ValueError: ('bad', 1)"
    """
    try:
        message = storable(" ".join(masker.mask(str(error)).split()))
    except Exception:  # the exception's own __str__ is broken
        message = "(it cannot say what)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def storable(text: str) -> str:
    """`text` as every database takes it: none takes half a character, and PostgreSQL no NUL."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


# --- patterns ---------------------------------------------------------------------------------------------------------


def worth_hiding(secret: str) -> bool:
    """Whether a value is long and rare enough to be looked for."""
    return len(secret) >= MIN_LENGTH and secret.lower() not in NOT_SECRET


def longest_first(secrets: Iterable[str]) -> list[str]:
    """The order to look for them: a secret that begins with another one must not leave its end behind."""
    return sorted(secrets, key=lambda secret: (-len(secret), secret))


@lru_cache(maxsize=4)
def exact_pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    """Finds the secrets as they are."""
    return re.compile("|".join(map(re.escape, longest_first(secrets))))


@lru_cache(maxsize=4)
def cores(secrets: frozenset[str]) -> list[tuple[str, str]]:
    """What to look for: the secrets, and each line of those that have several, with the core of each.

    The core is the longest part that is the same in every spelling. Whether a text contains it is found much faster
    than whether a pattern does, and nearly always the answer is no.
    """
    texts = set()
    for secret in filter(str.strip, secrets):
        parts = {secret.strip(), *map(str.strip, secret.splitlines())}
        texts |= set(filter(worth_hiding, parts)) or {secret}
    return [(max(re.findall(r"[A-Za-z0-9_]+", text), key=len, default=""), text) for text in longest_first(texts)]


@lru_cache(maxsize=1024)
def spelled_pattern(secret: str) -> re.Pattern[str]:
    """Finds a secret in any spelling."""
    return re.compile(spellings(secret))


SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "\b": ("\\b", "\\\\b"),  # JSON, and JSON in JSON
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
    '"': ("&quot;", '""'),  # HTML; CSV
    "'": ("&apos;", "''", "'\"'\"'", "'\\''"),  # XML; SQL; the shell
}
"""Spellings of single characters; those that follow a rule are in `_spellings_of`."""


WHITE_SPACE = r"(?:\\{0,4}\s|\+|\\{1,4}[a-z][0-9a-f]{0,4}|%(?:25)*[0-9A-Fa-f]{2}|&#x?[0-9a-f]+;)+"
"""White space in a secret, spelled anyhow, and any other in its place: making a message one line changes it."""


def spellings(secret: str) -> str:
    """A pattern that finds `secret` as it is, and as URLs, JSON, HTML, XML, SQL, CSV, shells and Python spell it.

    >>> import html, json, shlex, urllib.parse
    >>> pattern = re.compile(spellings('a&b "c" é'))
    >>> all(
    ...     pattern.search(spelled('a&b "c" é'))
    ...     for spelled in (repr, json.dumps, urllib.parse.quote, urllib.parse.quote_plus, html.escape, shlex.quote)
    ... )
    True
    """
    return "".join(map(_spellings_of, re.sub(r"\s+", " ", secret)))


@lru_cache(maxsize=1024)
def _spellings_of(char: str) -> str:
    if char.isascii() and (char.isalnum() or char == "_"):
        return char
    if char == " ":
        return WHITE_SPACE
    code, data = f"0*{ord(char):x}", char.encode("utf-8", "surrogatepass")
    forms = [
        r"\\{0,4}" + re.escape(char),  # a backslash before it, in each of up to two literals around it
        "".join(f"%(?:25)*{byte:02x}" for byte in data),
        "".join(rf"\\{{1,4}}(?:x{byte:02x}|{byte:03o})" for byte in data),
        rf"\\{{1,4}}[xuU]{code}",
        "".join(rf"\\{{1,4}}u{unit:04x}" for unit in _utf16(char)),
        rf"&#(?:0*{ord(char)}|x{code});",
        *map(re.escape, SPELLINGS.get(char, ())),
    ]
    # The longer spellings first, so that nothing of them is left behind.
    return f"(?i:{'|'.join(sorted(forms, key=len, reverse=True))})"


def _utf16(char: str) -> list[int]:
    """A character as JSON escapes it: in UTF-16 code units."""
    data = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


masker = Masker()
"""The process's one masker."""

should_hide_value_for_key = masker.should_hide_value_for_key
mask_secret = masker.mask_secret
redact = masker.redact
merge = masker.merge
mask = masker.mask
masked = masker.masked
