"""A scenario: what is attached when, what becomes of it, what goes wrong, and who does what meanwhile.

It is read from TOML.  A mistake in it is told with the file, the key as a dotted path, and what was expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import attrs

from vsbatch_core.adapters.faults import NO_FAULTS, Faults
from vsbatch_core.cli.directory import find
from vsbatch_core.cli.progress import Show
from vsbatch_core.model import Limits, Profile
from vsbatch_core.scenarios.circumstances import found, root_of, take
from vsbatch_core.scenarios.files import Found
from vsbatch_core.scenarios.tables import MISSING, Table
from vsbatch_core.scenarios.text import Refused
from vsbatch_core.simulation import Plan

BATCH_FILES = Limits().batch_files
DAY = 86_400.0
ACTS = {
    "attach": ("store", "file"),
    "cancel": ("batch",),
    "delete_file": ("store", "file"),
    "delete_store": ("store",),
    "list": ("store", "batch"),
    "retrieve": ("store", "file", "batch"),
}
"""By what is done, the keys that say to what."""


@attrs.frozen
class Load:
    """A batch to be created, ``at`` seconds from the start."""

    name: str
    store: str
    at: float
    files: list[dict[str, Any]]


@attrs.frozen
class Deed:
    """What somebody does: at a time, or ``every`` so often, ``times`` times or for as long as there is work."""

    do: str
    at: float
    every: float | None = None
    times: int | None = None
    store: str = ""
    batch: str = ""
    file: str = ""


@attrs.frozen
class Customer:
    """How the client behaves that creates the batches.

    * ``poll``: how many seconds it waits between two looks at a batch; ``None`` if it never looks.
    * ``timeout``: after how many seconds it gives a batch up, and then ``on_timeout``: leaves or cancels it.
    * ``retries``: how often it tries again what it can (no answer, 408, 409, 429, 5xx), waiting as long as
      ``retry-after`` says, or else half a second and twice as long each time, up to 8 s: as the official ones.
    """

    poll: float | None = None
    timeout: float = DAY
    on_timeout: str = "leave"
    retries: int = 2


@attrs.frozen(kw_only=True)
class Scenario:
    """All that a run needs."""

    title: str
    loads: list[Load]
    plan: Plan
    stores: list[str]
    seed: int = 0
    until: float | None = None
    faults: Faults = NO_FAULTS
    profile: Profile = attrs.field(factory=Profile)
    deeds: list[Deed] = attrs.field(factory=list)
    customer: Customer = Customer()


def attachments(found: list[Found]) -> list[dict[str, Any]]:
    """The files as a request attaches them."""
    return [{"file_id": file.id, "attributes": file.attributes} for file in found]


def loads(
    name: str,
    store: str,
    files: list[dict[str, Any]],
    *,
    at: float = 0.0,
    every: float = 0.0,
    batch_size: int = BATCH_FILES,
) -> list[Load]:
    """The files in batches of at most so many, one ``every`` seconds; if there are several, each has a number."""
    parts = [files[first : first + batch_size] for first in range(0, len(files), batch_size)]
    return [
        Load(name if len(parts) == 1 else f"{name}-{i + 1}", store, at + i * every, part)
        for i, part in enumerate(parts)
    ]


def load(name: str, show: Show) -> Scenario:
    """The scenario of a file, or of one that is shipped.  Raise ``Refused``."""
    return read(*found(name), show)


def read(file: str, text: str, folder: Path, show: Show) -> Scenario:
    """The scenario that the text says; directories in it are looked for from ``folder``.  Raise ``Refused``."""
    root = root_of(file, text)
    circumstances = take(root, Path(file).stem)
    until = root.seconds("until", None)
    stores = [table.text("name") for table in root.tables("stores")] or ["store"]
    _distinct(root, "stores", stores)
    numbers = count(1)
    parts = [load for table in root.tables("batches") for load in _loads(table, stores, folder, numbers, show)]
    if not parts:
        root.wrong("batches", "at least one [[batches]], which is missing")
    names = [load.name for load in parts]
    _distinct(root, "batches", names)
    return Scenario(
        title=circumstances.title,
        seed=circumstances.seed,
        until=until,
        profile=circumstances.profile,
        stores=stores,
        loads=parts,
        plan=circumstances.plan,
        faults=circumstances.faults,
        deeds=[_deed(table, stores, names) for table in root.tables("acts")],
        customer=_customer(root.table("client")),
    )


def _distinct(root: Table, key: str, names: list[str]) -> None:
    (name, times), *_ = Counter(names).most_common(1)
    if times > 1:
        root.wrong(key, f"names that differ, but {times} are '{name}'")


def _loads(table: Table, stores: list[str], folder: Path, numbers: Iterator[int], show: Show) -> list[Load]:
    store = table.word("store", stores, stores[0])
    at = table.seconds("at", 0.0, zero=True)
    every = table.seconds("every", 0.0, zero=True)
    size = table.whole("batch_size", BATCH_FILES)
    if size > BATCH_FILES:
        table.wrong("batch_size", f"at most {BATCH_FILES}, the API's limit", size)
    name = table.text("name", "batch")
    return loads(name, store, _files(table, folder, numbers, show), at=at, every=every, batch_size=size)


def _files(table: Table, folder: Path, numbers: Iterator[int], show: Show) -> list[dict[str, Any]]:
    directory = table.text("directory", None)
    if directory is not None:
        hidden = table.flag("hidden")
        try:
            found, _ = find(str(folder / directory), hidden=hidden, show=show)
        except Refused as error:
            table.wrong("directory", f"a directory with files in it: {error}")
        return attachments(found)
    ids = table.strings("ids")
    if ids is None:
        ids = [f"file-{next(numbers):06d}" for _ in range(table.whole("files"))]
    suffixes = cycle(table.strings("suffixes") or [""])
    size = table.whole("bytes", None, least=0)
    made = []
    for id in ids:
        suffix = next(suffixes)
        attributes: dict[str, Any] = {"path": id + suffix} if suffix else {}
        if size is not None:
            attributes["bytes"] = size
        made.append({"file_id": id, "attributes": attributes})
    return made


def _deed(table: Table, stores: list[str], batches: list[str]) -> Deed:
    do = table.word("do", ACTS)
    every = table.seconds("every", None)
    at = table.seconds("at", every if every is not None else MISSING, zero=True)
    times = table.whole("times", None)
    if times is not None and every is None:
        table.wrong("times", "every, which is missing: how often, in seconds")
    keys = ACTS[do]
    store = table.word("store", stores, stores[0]) if "store" in keys else ""
    batch = table.word("batch", batches, batches[0] if keys == ("batch",) else "") if "batch" in keys else ""
    file = table.text("file", "") if "file" in keys else ""
    if not file and do == "delete_file":
        table.wrong("file", "a file's id, which is missing")
    if do == "retrieve" and not file and not batch:
        table.wrong("batch", "a batch's name, or a file's id under file, which is missing")
    return Deed(do, at, every, times, store, batch, file)


def _customer(table: Table) -> Customer:
    made = Customer(
        poll=table.seconds("poll", None),
        timeout=table.seconds("timeout", DAY),
        on_timeout=table.word("on_timeout", ("leave", "cancel"), "leave"),
        retries=table.whole("retries", 2, least=0),
    )
    table.end()
    return made
