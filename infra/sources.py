"""What a source is, and how sources are found.

A source is a folder below one of the packages named by ``sources.packages``: a module ``source`` in it holds ``SOURCE``, a
:class:`Source`. Nothing lists the sources; what is general (topics, settings, metrics, commands, lag, the warm-up of workers, pages of
the reference) is derived from what they declare. A declaration imports little: whatever is heavy is named as ``module:attribute``, or
imported inside the function that needs it.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from infra.errors import ConfigError, one_line
from schemas.records import HotTable, RecordType
from schemas.topics import PLATFORM, TopicSpec

if TYPE_CHECKING:
    from pydantic import BaseModel

    from infra.config import Settings

#: Module of a source's folder that declares it, and its attribute.
MODULE, ATTRIBUTE = "source", "SOURCE"


class Service(Protocol):
    """What runs beside a query in its driver. Making one does nothing; it works from ``start`` to ``stop``."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Query:
    """A streaming query.

    Parameters
    ----------
    name : str
        Lower-case letters, digits, underscores; unique over all sources. Its checkpoint, metrics and log lines go by it.
    start : callable
        Starts it: a ``SparkSession`` and the settings in, a ``StreamingQuery`` out. Called again after a failure.
    reads : tuple of TopicSpec
        Topics that it reads.
    essential : bool
        When it ends for good, so does its driver: the others live on it.
    service : callable, optional
        Makes what runs beside it.
    stores : frozenset of str
        Stores that it writes: ``lake``, ``hot``, ``alerts``.
    switch : str
        The setting (``section.key``, of its source, true or false) without which it runs only where it is named (``--only``). Empty: it
        always runs.
    """

    name: str
    start: Callable[[Any, Settings], Any]
    reads: tuple[TopicSpec, ...]
    essential: bool = False
    service: Callable[[Settings], Service] | None = None
    stores: frozenset[str] = frozenset()
    switch: str = ""

    def wanted(self, settings: Settings) -> bool:
        """Whether it runs where nobody names it."""
        section, _, key = self.switch.partition(".")
        return not self.switch or bool(getattr(getattr(settings, section), key))


@dataclass(frozen=True)
class Command:
    """A command of a source: ``flowlake <source> <name>``, or ``flowlake <group> <name>``.

    Parameters
    ----------
    name : str
        Its word.
    target : str
        ``module:attribute``: a function is one command, a Typer app a group. Imported only when it is used.
    help : str
        The line that an overview shows.
    top : bool
        Whether ``flowlake <name>`` is understood too.
    group : str
        The group that it belongs to instead of the source's own: a command at the top that is a group, of this source or another
        (``sensor``). Where nobody declares that group, it is made of what names it.

    Raises
    ------
    ConfigError
        It is to be at the top, and in a group.
    """

    name: str
    target: str
    help: str
    top: bool = False
    group: str = ""

    def __post_init__(self) -> None:
        if self.top and self.group:
            raise ConfigError(f"a source declares command {self.name!r} at the top and in group {self.group!r}", "leave one of them out")

    def path(self, source: str) -> str:
        """Its words behind ``flowlake``, as a command of that source."""
        return f"{self.group or source} {self.name}"


def _none(_settings: Settings) -> Sequence[HotTable]:
    return ()


@dataclass(frozen=True)
class Source:
    """A source of records, declared in one place.

    Parameters
    ----------
    name : str
        One word in lower case; its group of commands.
    title : str
        One line for people.
    sections : mapping of str to type
        Sections of the settings -> their models (:class:`infra.sections.Section`).
    topics : tuple of TopicSpec
        Topics that it brings.
    records : tuple of RecordType
        Record types that it publishes.
    queries : tuple of Query
        In the order in which a driver starts them.
    commands : tuple of Command
        Its commands.
    warm : str
        ``module:function`` that a worker's parent calls once before the first task, with the settings' defaults: imports, kernels.
    modules : tuple of str
        Modules that its tasks import.
    main : bool
        Its record types come first: what commands are about where no record type is named.
    tables : function of Settings
        Tables of the hot store that are no record type's, those in use as the settings have it.
    demo : str
        ``module:function`` of ``flowlake demo --source <name>``: settings, place, options and console in; report, and whether all is well.
    """

    name: str
    title: str
    sections: Mapping[str, type[BaseModel]]
    topics: tuple[TopicSpec, ...]
    records: tuple[RecordType, ...]
    queries: tuple[Query, ...]
    commands: tuple[Command, ...] = ()
    warm: str = ""
    modules: tuple[str, ...] = ()
    main: bool = False
    tables: Callable[[Settings], Sequence[HotTable]] = _none
    demo: str = ""


class Catalogue:
    """The sources of a process, and what follows from them.

    Parameters
    ----------
    packages
        Names of the packages that they were found in.
    sources
        In the order in which they were found.

    Raises
    ------
    ConfigError
        Two of them declare one name.
    """

    def __init__(self, packages: Sequence[str], sources: Sequence[Source]) -> None:
        self.packages = tuple(packages)
        self.sources = tuple(sources)
        _unique("sources", (s.name for s in sources))
        _spelled("source", _WORD, (s.name for s in sources))
        _spelled("section", _NAME, (name for s in sources for name in s.sections))
        _spelled("query", _NAME, (q.name for q in self.queries))
        _spelled("command", _WORD, (c.name for s in sources for c in s.commands))
        _spelled("group of commands", _WORD, (c.group for s in sources for c in s.commands if c.group))
        _spelled("topic", _TOPIC, (t.name for t in self.topics))
        _switches(sources)
        _unique("sections of the settings", (name for s in sources for name in s.sections))
        _unique("topics", (t.name for t in self.topics))
        _unique("record types", (r.name for r in self.records))
        _unique("queries", (q.name for q in self.queries))
        hot = [table for s in sources for table in {id(r.hot): r.hot for r in s.records if r.hot}.values()]  # a source may share one
        _unique("tables of the hot store", (table.name for table in hot))
        _unique("components of the hot store", (table.component for table in hot))
        _unique("tables of the lake", (r.lake.name or "flows" for r in self.records if r.lake))
        _unique("commands", (name for name in (*(s.name for s in sources), *(c.name for s in sources for c in s.commands if c.top))))
        _unique("commands", (c.path(s.name) for s in sources for c in s.commands))

    @cached_property
    def sections(self) -> dict[str, type[BaseModel]]:
        """Sections of the settings that the sources bring."""
        return {name: model for s in self.sources for name, model in s.sections.items()}

    @cached_property
    def topics(self) -> tuple[TopicSpec, ...]:
        """All topics: those of the sources, then those of the platform."""
        return (*(t for s in self.sources for t in s.topics), *PLATFORM)

    @cached_property
    def records(self) -> tuple[RecordType, ...]:
        """All record types, those of the main source first."""
        return tuple(r for s in sorted(self.sources, key=lambda source: not source.main) for r in s.records)

    def tables(self, settings: Settings) -> list[HotTable]:
        """Tables of the hot store that are no record type's."""
        return [table for s in self.sources for table in s.tables(settings)]

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """All queries, in the order in which a driver starts them."""
        return tuple(q for s in self.sources for q in s.queries)

    def source(self, name: str) -> Source:
        """The source of that name.

        Raises
        ------
        ConfigError
            There is none.
        """
        known = {s.name: s for s in self.sources}
        if name not in known:
            raise ConfigError(f"no source {name!r}", f"known: {', '.join(known) or 'none'}; sources are looked for in sources.packages")
        return known[name]

    def select(self, names: Iterable[str], origin: str = "--only") -> list[Query]:
        """The queries of these names, in their own order; all of them for none.

        Raises
        ------
        ConfigError
            A name is unknown.
        """
        wanted = [name for name in names if name]
        known = {q.name: q for q in self.queries}
        for name in wanted:
            if name not in known:
                raise ConfigError(f"{origin} {','.join(wanted)}: no query {name!r}", f"queries: {', '.join(known)}")
        return [q for q in self.queries if not wanted or q.name in wanted]

    def chosen(self, settings: Settings, names: Iterable[str], among: Iterable[str] = ()) -> list[Query]:
        """The queries of a driver: those that are named; where none is, those (``among``; of none, all) that are not switched off.

        Raises
        ------
        ConfigError
            A name is unknown.
        """
        if named := [name for name in names if name]:
            return self.select(named)
        return [q for q in self.select(among) if q.wanted(settings)]


#: A word of the command line; a name in settings, checkpoints and metrics; a topic (Kafka's own rule).
_WORD, _NAME, _TOPIC = re.compile(r"[a-z][a-z0-9-]*"), re.compile(r"[a-z][a-z0-9_]*"), re.compile(r"[a-zA-Z0-9._-]{1,200}")


def _spelled(what: str, pattern: re.Pattern[str], names: Iterable[str]) -> None:
    if odd := [name for name in names if not pattern.fullmatch(name)]:
        raise ConfigError(f"a source declares {what} {odd[0]!r}: it must match {pattern.pattern}", "rename it")


def _switches(sources: Sequence[Source]) -> None:
    for source in sources:
        for query in source.queries:
            section, _, key = query.switch.partition(".")
            if query.switch and key not in getattr(source.sections.get(section), "model_fields", {}):
                raise ConfigError(
                    f"a source declares query {query.name!r} with switch {query.switch!r}: it has no such setting", "name one: section.key"
                )


def _unique(what: str, names: Iterable[str]) -> None:
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise ConfigError(
            f"two sources declare {what} of one name: {', '.join(map(repr, twice))}", "rename one, or shorten sources.packages"
        )


@lru_cache(maxsize=8)
def discover(packages: tuple[str, ...]) -> Catalogue:
    """The sources below some packages.

    A package that is itself a source (it has a module ``source``) is one; else its sub-packages are looked through, in the order of their
    names. Works inside a zip as well.

    Parameters
    ----------
    packages
        Dotted names.

    Raises
    ------
    ConfigError
        A package cannot be imported, holds no source, or declares what another one does.
    """
    found = [source for package in packages for source in _below(package)]
    return Catalogue(packages, found)


def _below(package: str) -> Iterator[Source]:
    try:
        module = importlib.import_module(package)
    except Exception as e:
        raise ConfigError(
            f"sources.packages: {package!r} cannot be imported: {one_line(e)}",
            "name packages that Python finds; PYTHONPATH says where it looks",
        ) from e
    if not hasattr(module, "__path__"):
        raise ConfigError(f"sources.packages: {package!r} is a module, not a package", "name the folder that it lies in")
    if _has_module(package):
        yield _declared(package)
        return
    below = [found.name for found in pkgutil.iter_modules(module.__path__) if found.ispkg]
    declared = [f"{package}.{name}" for name in sorted(below) if _has_module(f"{package}.{name}")]
    if not declared:
        raise ConfigError(
            f"sources.packages: there is no source in {package!r}", f"a source is a folder with {MODULE}.py, which holds {ATTRIBUTE}"
        )
    yield from map(_declared, declared)


def _has_module(package: str) -> bool:
    try:
        return importlib.util.find_spec(f"{package}.{MODULE}") is not None
    except Exception as e:  # of its __init__, which is imported for it
        raise ConfigError(f"source {package}: {type(e).__name__}: {one_line(e)}", "docs/how-to/add-a-source.md shows one") from e


def _declared(package: str) -> Source:
    try:
        source = getattr(importlib.import_module(f"{package}.{MODULE}"), ATTRIBUTE)
    except Exception as e:  # a module of somebody else's: whatever it raises is told with its name
        hint = "docs/how-to/add-a-source.md shows one"
        raise ConfigError(f"source {package}.{MODULE}: {type(e).__name__}: {one_line(e)}", hint) from e
    if not isinstance(source, Source):
        raise ConfigError(f"source {package}.{MODULE}: {ATTRIBUTE} is a {type(source).__name__}, not a Source")
    return source


def resolve(target: str) -> Any:
    """What ``module:attribute`` names.

    Raises
    ------
    ImportError, AttributeError
        It is not there: a fault of the program, not of its user.
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
