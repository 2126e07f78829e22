"""The versions of a router: every promoted one is kept beside the folder that is in use, and can be gone back to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dspy_router.routing.router import Router
from dspy_router.runtime.folder import read_folder, write_folder

_INDEX = "versions.json"


@dataclass(frozen=True)
class Version:
    """One version of a router.

    Attributes:
        number: Counted from 1, which is the router that was there first.
        created: When it was put to use, ISO 8601 in UTC.
        fingerprint: The router's.
        note: Where it came from.
        report: What was measured when it was promoted, JSON-ready.
    """

    number: int
    created: str
    fingerprint: str
    note: str
    report: Mapping[str, Any]


class Versions:
    """The versions of the router in a folder.

    The folder itself always holds the one in use, as `Router.save` would have written it; copies of all versions lie
    beside it, in `FOLDER.versions/0001` and so on, with a list of them in `FOLDER.versions/versions.json`.

    Attributes:
        folder: The router in use.
        archive: Where the versions are.
    """

    def __init__(self, folder: str | Path) -> None:
        """Look after this folder; nothing is written yet.

        Raises:
            ValueError: If the list of versions is damaged.
        """
        self.folder = Path(folder)
        self.archive = self.folder.with_name(f"{self.folder.name}.versions")
        self._read()

    @property
    def all(self) -> list[Version]:
        """All versions, oldest first; none before the first promotion."""
        return self._read()[0]

    @property
    def current(self) -> int | None:
        """The number of the one in use; None before the first promotion."""
        return self._read()[1]

    def promote(self, router: Router, *, report: Mapping[str, Any], note: str = "learned") -> Version:
        """Put a router to use, and keep it and the one before it.

        The new version is whole on disk before the folder in use is replaced, and that is replaced by a rename.

        Raises:
            FileNotFoundError: If the folder holds no router yet.
            OSError: If another process is promoting or rolling back, or something cannot be written.
        """
        before = Router.load(self.folder)
        with self._alone():
            versions, current = self._read()
            if not versions:
                versions = [self._keep(1, before, "was there first", {})]
            elif before.fingerprint not in (version.fingerprint for version in versions if version.number == current):
                versions.append(self._keep(versions[-1].number + 1, before, "saved by other means", {}))
            version = self._keep(versions[-1].number + 1, router, note, report)
            write_folder(router.to_files(), self.folder)
            self._write([*versions, version], version.number)
        return version

    def rollback(self, to: int | None = None) -> Version:
        """Put an earlier version to use again.

        Args:
            to: Its number; by default the one before the one in use.

        Raises:
            OSError: As for `promote`.
            ValueError: If there is no such version, or none before the one in use.
        """
        with self._alone():
            versions, current = self._read()
            numbers = [version.number for version in versions]
            if to is None:
                earlier = [number for number in numbers if current is not None and number < current]
                if not earlier:
                    raise ValueError(f"There is no version of '{self.folder}' before the one in use.")
                to = earlier[-1]
            if to not in numbers:
                known = f"the versions are {', '.join(map(str, numbers))}" if numbers else "there are no versions yet"
                raise ValueError(f"'{self.folder}' has no version {to}; {known}.")
            write_folder(read_folder(self._place(to)), self.folder)
            self._write(versions, to)
        return versions[numbers.index(to)]

    def _keep(self, number: int, router: Router, note: str, report: Mapping[str, Any]) -> Version:
        write_folder(router.to_files(), self._place(number))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return Version(number, created, router.fingerprint, note, dict(report))

    def _place(self, number: int) -> Path:
        return self.archive / f"{number:04d}"

    def _read(self) -> tuple[list[Version], int | None]:
        path = self.archive / _INDEX
        if not path.exists():
            return [], None
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            return [Version(**version) for version in index["versions"]], int(index["current"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"The list of versions '{path}' is damaged. The versions themselves lie beside it, each a router of "
                "its own: restore the list from a copy, or move the folder away to start a new one."
            ) from error

    def _write(self, versions: list[Version], current: int) -> None:
        path = self.archive / _INDEX
        fresh = path.with_name(f".{_INDEX}.{uuid.uuid4().hex[:8]}")
        index = {"current": current, "versions": [asdict(version) for version in versions]}
        fresh.write_text(json.dumps(index, indent=1, ensure_ascii=False), encoding="utf-8")
        fresh.replace(path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from promoting at the same time."""
        self.archive.mkdir(parents=True, exist_ok=True)
        try:
            # Ended by the system where a process is killed, unlike a file that stands for a lock.
            with FileLock(self.archive / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise BlockingIOError(
                f"Another process is changing the versions of '{self.folder}' right now; try again when it has ended."
            ) from error
