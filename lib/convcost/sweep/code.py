"""The code that a unit's result depends on, as a hash: where it changes, the unit is done again.

What counts is the function, and whatever it uses:

- of its own module, of other modules beside it, of chapters and of the methods of compression, the
  definitions that it reaches by name: a changed plan or scale leaves the results of a measuring
  function alone;
- of the rooms that measure (`WHOLE`), every module that these import, as a whole: what a registry
  or a method does there is not to be seen from names.

Rooms that only keep, name or draw results do not count, nor do packages of others, which stand in
a machine's facts. Comments, docstrings and the layout of the source do not count either. Nothing
is imported to find this out, and Python's version makes no difference.
"""

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from convcost.core.paths import LIBRARY

OURS = LIBRARY.name
WHOLE = ("counting", "nets", "datasets", "predict", "fits", "measuring", "training")
BY_NAME = ("chapters", "compression")
_WHOLE = tuple(f"{OURS}.{room}" for room in WHOLE)
UNITS = f"{OURS}.core.units"  # of the ground the factor 2 only: the rest is words and places

# module, name in it, and attribute of what has that name; None: all of it
Use = tuple[str, str | None, str | None]


def of(function: str, home: str | None) -> str | None:
    """The hash of "package.module:function", 64 digits; None where Python has no source of it.

    `home` is the folder in sys.path in which the function's module is found. Files are read again
    when they have changed.
    """
    known = _known.get((function, home))
    if known and all(_state(file) == state for file, state in known[1].items()):
        return known[0]
    module, _, name = function.partition(":")
    reader = _Reader(module.partition(".")[0], home)
    if reader.file(module) is None:
        return None
    content = hashlib.sha256()
    for reached, statements in sorted(reader.reached(module, name).items()):
        lines = [reached, *(statements[number] for number in sorted(statements))]
        content.update(("\n".join(lines) + "\n").encode())
    _known[function, home] = content.hexdigest(), reader.read
    return content.hexdigest()


_known: dict[tuple, tuple[str, dict[Path, tuple[int, int]]]] = {}


def _state(file: Path) -> tuple[int, int] | None:
    """When a file was changed, and its size; None where it is gone."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def of_package(name: str, home: str | None) -> str | None:
    """A hash over all Python files of a package or module, comments included.

    None where there is none here; for one that has no file, such as `builtins`, how it is made.
    """
    spec = importlib.util.find_spec(name) or PathFinder.find_spec(name, [home] if home else [])
    if spec is None or not spec.has_location:
        return spec and spec.origin
    file = Path(spec.origin)
    files = sorted(file.parent.rglob("*.py")) if spec.submodule_search_locations else [file]
    content = hashlib.sha256()
    for one in files:
        content.update(f"{one.relative_to(file.parent).as_posix()}\n".encode() + one.read_bytes())
    return content.hexdigest()[:12]


class _Reader:
    """Follows names from module to module: in the library, and in the folder of the function."""

    def __init__(self, top: str, home: str | None):
        self.top, self.home = top, home and Path(home)
        installed = {Path(place) for place in sysconfig.get_paths().values()}
        # modules beside the function's own count, but not all that is installed in one place
        self.beside = bool(home) and top != OURS and self.home not in installed
        self.file = cache(self.file)
        self.read: dict[Path, tuple[int, int]] = {}

    def file(self, module: str) -> Path | None:
        """The source of a module that counts; None for any other."""
        top, *inner = module.split(".")
        if top == OURS:
            folder = LIBRARY.parent
        elif self.home and (top == self.top or self.beside):
            folder = self.home
        else:
            return None
        place = folder.joinpath(top, *inner)
        files = place.with_name(f"{place.name}.py"), place / "__init__.py"
        return next((file for file in files if file.is_file()), None)

    def counts(self, module: str) -> bool:
        top, *inner = module.split(".")
        if top == OURS and inner and inner[0] not in WHOLE + BY_NAME:
            return module == UNITS
        return self.file(module) is not None

    def reached(self, module: str, name: str) -> dict[str, dict[int, str]]:
        """By module: number and hash of each statement that counts."""
        found: dict[str, dict[int, str]] = {}
        todo: list[Use] = [(module, name, None)]
        seen: set[Use] = set()
        while todo:
            use = todo.pop()
            if use in seen:
                continue
            seen.add(use)
            module, name, attribute = use
            file = self.file(module)
            state = self.read.setdefault(file, _state(file))
            source = _source(file, state)
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            if module.startswith(_WHOLE):
                todo.append((module, None, None))
            mine = found.setdefault(module, {})
            for number in source.chosen(name, in_root=module == OURS):
                one = source.statements[number]
                if one.is_import:
                    # of all that a module imports, what its statements use is followed from there
                    if name is not None or not one.binds & source.used:
                        todo += self._brought(package, one.imports, attribute)
                elif number not in mine:
                    todo += self._brought(package, one.imports, None)
                    todo += [(module, *used) for used in one.uses if used[0] in source.binders]
                mine[number] = one.digest
        return found

    def _brought(
        self, package: str, imports: Iterable["_Import"], attribute: str | None
    ) -> Iterator[Use]:
        """What imports bring, where `attribute` of it is used."""
        for one in imports:
            base = one.module
            if one.level:
                parents = package.split(".")
                parents = parents[: len(parents) - one.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            whole = f"{base}.{one.name}"
            if one.name is None:
                use = base, attribute, None
            elif self.file(whole):
                use = whole, attribute, None
            else:
                use = base, None if one.name == "*" else one.name, attribute
            if self.counts(use[0]):
                yield use


@dataclass(frozen=True)
class _Import:
    """`from <level dots><module> import <name>`, or `import <module>` where the name is None."""

    module: str
    name: str | None
    level: int


@dataclass(frozen=True)
class _Statement:
    """A statement at a module's top: the names it binds, what it uses, and the hash of its tree.

    `uses`: (name, attribute of it that is asked for, or None where all of it is used).
    """

    binds: frozenset[str]
    uses: frozenset[tuple[str, str | None]]
    imports: tuple[_Import, ...]
    is_import: bool
    digest: str


@dataclass(frozen=True)
class _Source:
    """A module's statements, and by name the numbers of those that bind it."""

    statements: tuple[_Statement, ...]
    binders: dict[str, list[int]]
    used: frozenset[str]

    def chosen(self, name: str | None, *, in_root: bool) -> Iterable[int]:
        """Numbers of those that bind a name, and of those that bind none but do something.

        All of them for no name, and for one that nobody binds: a module's `__getattr__` may give
        it. The library's own root only passes names on, and what else it does is no matter.
        """
        if name is not None and name not in self.binders:
            if name.startswith("__"):  # Python's own, as `__file__`
                return ()
            name = None
        if name is None:
            return range(len(self.statements))
        acting = [] if in_root else [n for n, one in enumerate(self.statements) if not one.binds]
        return [*self.binders[name], *acting]


@cache
def _source(file: Path, state: tuple[int, int]) -> _Source:
    """A file as it is at that time: one that was changed is read again."""
    found = []
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias, imported in _aliases(node):
                bound = frozenset([_bound(alias, imported)])
                text = f"{imported} as {alias.asname}"
                found.append(_Statement(bound, frozenset(), (imported,), True, text))
        elif not _is_text(node):
            found.append(_analysed(node))
    binders: dict[str, list[int]] = {}
    for number, statement in enumerate(found):
        for name in statement.binds:
            binders.setdefault(name, []).append(number)
    used = frozenset(name for statement in found for name, _ in statement.uses)
    return _Source(tuple(found), binders, used)


def _bound(alias: ast.alias, imported: _Import) -> str:
    whole = alias.name if imported.name else alias.name.partition(".")[0]
    return alias.asname or whole


def _analysed(node: ast.stmt) -> _Statement:
    binds, uses, imports = set(), set(), []
    inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if inside:
        binds.add(node.name)
    bases = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            uses.add((part.value.id, part.attr))
            bases.add(id(part.value))
        elif isinstance(part, ast.Name):
            if isinstance(part.ctx, ast.Store) and not inside:
                binds.add(part.id)
            elif id(part) not in bases:  # walked later than what it is the base of
                uses.add((part.id, None))
        elif isinstance(part, ast.Import | ast.ImportFrom):
            for alias, imported in _aliases(part):
                imports.append(imported)
                if not inside:
                    binds.add(_bound(alias, imported))
        elif isinstance(part, ast.FunctionDef | ast.ClassDef) and not inside:
            binds.add(part.name)
    parts: list[str] = []
    _write(node, parts)
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return _Statement(frozenset(binds), frozenset(uses), tuple(imports), False, digest)


def _aliases(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[ast.alias, _Import]]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias, _Import(alias.name, None, 0)
        elif node.module != "__future__":
            yield alias, _Import(node.module or "", alias.name, node.level)


def _is_text(node: object) -> bool:
    """A docstring, or a text that stands alone: it does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


_UNSAID = ("ctx", "kind", "type_comment")


def _write(node: object, parts: list[str]) -> None:
    """A tree as texts, without what is empty in it: new versions of Python add empty fields."""
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in _UNSAID:
                parts.append(name)
                _write(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        for one in node:
            if not _is_text(one):
                _write(one, parts)
        parts.append("]")
    else:
        parts.append(repr(node))
