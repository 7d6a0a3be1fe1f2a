"""Rows of files and of web pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPException, IncompleteRead, InvalidURL
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from etlkit.errors import nearest
from etlkit.sources.base import Batch
from etlkit.sources.formats import Document
from etlkit.sources.refusal import refusal

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FileSource(Document):
    """Rows of a file, or of all the files in a folder whose names match `pattern`, in the order of their names.

    The other arguments are those of `Document`. Without a `modified` column, `modified_since` goes by the files' own
    modification times: the files changed at or after the cursor are read whole. That suits a folder that gets a new
    file each day. A file is held in memory while it is read.
    """

    path: str | Path
    pattern: str = field(default="*", kw_only=True)

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> pa.Table:
        return self._rows(self._files())

    def modified_since(self, cursor: datetime | str | None = None) -> Batch:
        if self.modified is not None:
            return super().modified_since(cursor)
        since = _instant(cursor, self)
        times = {file: _mtime(file) for file in self._files()}  # first: what changes while it is read is read again
        fresh = [file for file, time in times.items() if since is None or time >= since]
        rows = self._rows(fresh) if fresh else self._rows(list(times)[-1:]).slice(0, 0)
        return Batch(rows, max((times[file] for file in fresh), default=since))

    def _files(self) -> list[Path]:
        path = Path(self.path)
        if not path.is_dir():
            return [path]
        files = sorted(file for file in path.glob(self.pattern) if file.is_file() and not file.name.startswith("."))
        if not files:
            raise refusal(self, f"no file in it matches {self.pattern!r}", "see whether what writes them failed")
        return files

    def _rows(self, files: list[Path]) -> pa.Table:
        import pyarrow as pa

        tables = [self.table(str(file), _on_disk(file, Path.read_bytes)) for file in files]
        for file, table in zip(files, tables, strict=True):
            if table.schema != tables[0].schema:
                raise refusal(file, f"its columns are not those of {files[0].name}", "state them: columns={...}")
        return pa.concat_tables(tables)


def _on_disk(file: Path, do: Callable[[Path], T]) -> T:
    """What `do` gives for the file, or one line on why the file cannot be had."""
    try:
        return do(file)
    except FileNotFoundError as error:
        there = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        what = f"it does not exist{nearest(file.name, there)}"
        raise refusal(file, what, "a relative path begins at the working directory") from error
    except OSError as error:
        raise refusal(file, f"it cannot be read ({error.strerror})", "see its permissions and its disk") from error


def _mtime(file: Path) -> datetime:
    """The file's modification time, down to the microseconds that a datetime can hold."""
    return EPOCH + timedelta(microseconds=_on_disk(file, Path.stat).st_mtime_ns // 1000)


def _instant(cursor: datetime | str | None, source: object) -> datetime | None:
    try:
        since = datetime.fromisoformat(cursor) if isinstance(cursor, str) else cursor
    except ValueError as error:
        raise refusal(source, f"the cursor {cursor!r} is no ISO time", "hand in what the last update gave") from error
    if since is not None and since.tzinfo is None:
        raise refusal(source, f"the cursor {cursor} has no time zone", "add tzinfo=timezone.utc")
    return since


@dataclass(frozen=True)
class HttpSource(Document):
    """Rows of a web page, fetched with one GET; the address's path tells the format.

    The other arguments are those of `Document`, and:

    - `since_parameter` sends the cursor along in the query string, as services that can choose rows want it:
      ``?updated_since=2013-01-01T06%3A51%3A00%2B00%3A00``. A service that ignores it costs traffic, not rows.
    - `headers` go with the request, but not along a redirect. Put secrets there: neither they nor the address's
      user, password and query ever reach a message.
    - `timeout` is in seconds on the wall, for connecting and for each wait for more bytes.

    Errors are: any status but 200, a body shorter than announced, no answer, no byte in time.
    """

    url: str = field(repr=False)
    since_parameter: str | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)
    timeout: float = field(default=30.0, kw_only=True)

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def read(self) -> pa.Table:
        return self._rows(self.url)

    def _candidates(self, cursor: Any) -> pa.Table:
        if self.since_parameter is None or cursor is None:
            return self.read()
        since = cursor.isoformat() if isinstance(cursor, date) else cursor
        joint = "&" if urlsplit(self.url).query else "?"
        return self._rows(self.url + joint + urlencode({self.since_parameter: since}))

    def _rows(self, url: str) -> pa.Table:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise refusal(self, "this is no web address", "begin it with http:// or https://")
        if "@" in parts.netloc:
            raise refusal(self, "the address holds a login", "send it in headers={'Authorization': ...}")
        return self.table(str(self), self._body(url))

    def _body(self, url: str) -> bytes:
        request = Request(url)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)  # a redirect may lead to a stranger
        try:
            with urlopen(request, timeout=self.timeout) as response:
                status, reason, body = response.status, response.reason, response.read()
        except InvalidURL:  # not chained: it quotes the address
            raise refusal(self, "the address is malformed", "percent-encode its blanks and signs") from None
        except (OSError, HTTPException) as error:
            raise refusal(self, *self._why(error)) from error
        if status != 200:
            raise refusal(self, f"HTTP {status} {reason}", "only 200 comes with all rows")
        return body

    def _why(self, error: OSError | HTTPException) -> tuple[str, str]:
        """What went wrong, and what to do."""
        if isinstance(error, HTTPError):
            error.close()
            return f"HTTP {error.code} {error.reason}", "see the address, and headers= if it wants a login"
        if isinstance(error, IncompleteRead):
            missing = f" with {error.expected} to come" if error.expected else ""
            return f"the body broke off after {len(error.partial)} bytes{missing}", "try again"
        reason = getattr(error, "reason", error)  # URLError wraps what happened
        if isinstance(reason, TimeoutError):
            return f"no byte in {self.timeout:g} seconds", "try again, or give a longer timeout="
        return f"no answer ({reason})", "see whether the server runs"
