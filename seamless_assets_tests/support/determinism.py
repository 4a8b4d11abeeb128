"""Reads code for what makes a run differ from the next: clocks, luck, and order that hangs on hashes."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

CLOCK = "what time it is comes from the Clock port"
LUCK = "luck comes from the ports' seeded `rng`"
THREADS = "threads belong into adapters"
ENVIRONMENT = "the environment is looked at by `config` alone"
ADDRESSES = "it takes tasks in an order that hangs on their addresses"
REFUSED = {
    "time": CLOCK,
    "datetime.datetime.now": CLOCK,
    "datetime.datetime.utcnow": CLOCK,
    "datetime.datetime.today": CLOCK,
    "datetime.date.today": CLOCK,
    "pandas.Timestamp.now": CLOCK,
    "pandas.Timestamp.today": CLOCK,
    "pandas.Timestamp.utcnow": CLOCK,
    "asyncio.sleep": "waits go through the Clock port",
    "random": LUCK,
    "numpy.random": LUCK,
    "secrets": LUCK,
    "uuid": LUCK,
    "os.urandom": LUCK,
    "tempfile": LUCK,
    "os.environ": ENVIRONMENT,
    "os.getenv": ENVIRONMENT,
    "threading": THREADS,
    "concurrent.futures": THREADS,
    "multiprocessing": THREADS,
    "asyncio.to_thread": THREADS,
    "asyncio.TaskGroup": ADDRESSES,
    "asyncio.as_completed": ADDRESSES,
    "asyncio.all_tasks": ADDRESSES,
    "hash": "it differs from process to process",
    "id": "it differs from process to process",
    "importlib": "what is imported must be seen by reading",
    "__import__": "what is imported must be seen by reading",
}
"""Names that are refused, with all below them, and why."""
BUILTINS = ("hash", "id", "__import__")
SEEDED = {"random.Random", "numpy.random.default_rng"}
"""Sound with a seed, refused without."""
LOOP_TIME = "the event loop's time is read in `aio` alone"
LOOP_CLOCKS = {"time": 0, "call_later": 2, "call_at": 2}
"""Methods of an event loop that go by its time, and how many arguments they take at least."""
UNORDERED = "the order of a set hangs on hashes and addresses; sort it"
SETS = {"set", "frozenset", "Set", "AbstractSet", "MutableSet", "FrozenSet"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
IN_ANY_ORDER = {"sorted", "set", "frozenset", "any", "all", "len", "min", "max", "bool"}
"""They give the same whatever the order; `min` and `max` only without a key."""
IN_ORDER = {
    *(
        "array",
        "asarray",
        "chain",
        "deque",
        "dict",
        "enumerate",
        "extend",
        "filter",
        "from_iterable",
        "fromiter",
    ),
    *("fromkeys", "iter", "join", "list", "map", "next", "repr", "reversed", "str", "sum", "tuple", "zip"),
}
"""What they give hangs on the order of what they are given."""


@dataclass(frozen=True, slots=True)
class Offence:
    """A place in the code, and what is wrong there."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True, slots=True)
class Declared:
    """Attributes and functions that are sets, or give sets, wherever these names are declared."""

    attributes: frozenset[str]
    functions: frozenset[str]


def find_offences(sources: Mapping[str, str], may_read_loop_time: str = "") -> list[Offence]:
    """What is wrong in sources by path, in order; below `may_read_loop_time` the loop's time may be read."""
    trees = {path: ast.parse(source, path) for path, source in sources.items()}
    declared = declared_sets(trees.values())
    found = []
    for path, tree in trees.items():
        reader = _Reader(declared, bool(may_read_loop_time) and path.startswith(may_read_loop_time))
        reader.visit(tree)
        found += [Offence(path, line, what) for line, what in sorted(set(reader.found))]
    return found


def declared_sets(trees: Iterable[ast.Module]) -> Declared:
    """Names of attributes and functions that are annotated as sets, and as nothing else anywhere."""
    attributes, functions = defaultdict[str, set[bool]](set), defaultdict[str, set[bool]](set)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            functions[node.name].add(_is_set_type(node.returns))
        elif isinstance(node, ast.AnnAssign):
            attributes[_short(node.target)].add(_is_set_type(node.annotation))
    return Declared(
        frozenset(name for name, are in attributes.items() if are == {True}),
        frozenset(name for name, are in functions.items() if are == {True}),
    )


def _is_set_type(annotation: ast.expr) -> bool:
    return _short(annotation.value if isinstance(annotation, ast.Subscript) else annotation) in SETS


class _Reader(ast.NodeVisitor):
    """Collects `(line, what)` of one module."""

    def __init__(self, declared: Declared, may_read_loop_time: bool) -> None:
        self.found: list[tuple[int, str]] = []
        self._declared = declared
        self._may_read_loop_time = may_read_loop_time
        self._names: dict[str, str] = {name: name for name in BUILTINS}
        self._sets: list[set[str]] = [set()]
        self._free: set[ast.AST] = set()

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            local = alias.asname or alias.name.partition(".")[0]
            self._names[local] = alias.name if alias.asname else local

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            self._refuse(node, f"{node.module}.{alias.name}", is_called=False)

    def visit_Module(self, node: ast.Module) -> None:
        # A constant of the module is known in all of its functions.
        for inner in node.body:
            self._learn(inner)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._sets.append({a.arg for a in arguments if a.annotation and _is_set_type(a.annotation)})
        # A name is known to be a set wherever it is used, also before the line that makes it one.
        for inner in ast.walk(node):
            self._learn(inner)
        self.generic_visit(node)
        self._sets.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        name, short = self._dotted(node.func), _short(node.func)
        self._refuse(node, name, is_called=bool(node.args or node.keywords))
        if isinstance(node.func, ast.Attribute) and self._is_of_a_loop(short, node):
            self._add(node, LOOP_TIME, unless=self._may_read_loop_time)
        has_ties = short in {"min", "max"} and any(word.arg == "key" for word in node.keywords)
        is_free = short in IN_ANY_ORDER and not has_ties
        if is_free:
            self._free.update(node.args)
        if short in IN_ORDER or has_ties:
            for argument in node.args:
                self._add(argument, UNORDERED, unless=not self._is_set(argument))
        if short == "pop" and isinstance(node.func, ast.Attribute) and not node.args:
            self._add(node, UNORDERED, unless=not self._is_set(node.func.value))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in BUILTINS:
            self._refuse(node, node.id, is_called=False)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._refuse(node, self._dotted(node), is_called=False)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._add(node.iter, UNORDERED, unless=not self._is_set(node.iter))
        self.generic_visit(node)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_Starred(self, node: ast.Starred) -> None:
        self._add(node, UNORDERED, unless=node in self._free or not self._is_set(node.value))
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._free.update(element for element in node.elts if isinstance(element, ast.Starred))
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._add(node, UNORDERED, unless=not self._is_set(node.value))
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._add(node, UNORDERED, unless=not self._is_set(node.value))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Tuple | ast.List):
            self._add(node, UNORDERED, unless=not self._is_set(node.value))
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        is_extended = isinstance(node.op, ast.Add) and self._is_set(node.value)
        self._add(node, UNORDERED, unless=not is_extended)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        for part in node.generators:
            self._add(part.iter, UNORDERED, unless=node in self._free or not self._is_set(part.iter))
        self.generic_visit(node)

    visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815

    def _learn(self, node: ast.AST) -> None:
        """Take note of names that a statement makes sets."""
        known = self._sets[-1]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            known.update({node.target.id} if _is_set_type(node.annotation) else ())
        elif isinstance(node, ast.Assign | ast.NamedExpr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if self._is_wait(node.value) and isinstance(targets[0], ast.Tuple):
                known.update(name.id for name in targets[0].elts if isinstance(name, ast.Name))
            for target in targets:
                known.update(name.id for name, value in _pairs(target, node.value) if self._is_set(value))

    def _is_of_a_loop(self, method: str, call: ast.Call) -> bool:
        least = LOOP_CLOCKS.get(method)
        return least is not None and (len(call.args) >= least if least else not call.args)

    def _is_wait(self, node: ast.expr) -> bool:
        call = node.value if isinstance(node, ast.Await) else node
        return isinstance(call, ast.Call) and self._dotted(call.func) == "asyncio.wait"

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Name):
            return any(node.id in names for names in self._sets)
        if isinstance(node, ast.Attribute):
            return node.attr in self._declared.attributes
        if isinstance(node, ast.IfExp):
            return self._is_set(node.body) or self._is_set(node.orelse)
        if isinstance(node, ast.BoolOp):
            return any(self._is_set(value) for value in node.values)
        if isinstance(node, ast.BinOp):
            is_algebra = isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor)
            return is_algebra and any(
                self._is_set(side) or _is_view(side) for side in (node.left, node.right)
            )
        return isinstance(node, ast.Call) and self._makes_a_set(node.func)

    def _makes_a_set(self, function: ast.expr) -> bool:
        short = _short(function)
        if isinstance(function, ast.Attribute):
            return short in SET_METHODS or (short == "copy" and self._is_set(function.value))
        return short in {"set", "frozenset"} or short in self._declared.functions

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, "")
        if isinstance(node, ast.Attribute) and (base := self._dotted(node.value)):
            return f"{base}.{node.attr}"
        return ""

    def _refuse(self, node: ast.AST, name: str, *, is_called: bool) -> None:
        if name in SEEDED:
            self._add(node, f"{name} wants a seed", unless=is_called or not isinstance(node, ast.Call))
            return
        for refused, why in REFUSED.items():
            if name == refused or name.startswith(f"{refused}."):
                is_module = any(seeded.startswith(f"{name}.") for seeded in SEEDED)
                self._add(node, f"{name}: {why}", unless=is_module)

    def _add(self, node: ast.AST, what: str, *, unless: bool = False) -> None:
        if not unless:
            self.found.append((getattr(node, "lineno", 0), what))


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.Name, ast.expr]]:
    """The names of an assignment, each with what it is given as far as that is written out."""
    if isinstance(target, ast.Name):
        yield target, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for part, given in zip(target.elts, value.elts, strict=False):
            yield from _pairs(part, given)


def _short(node: ast.expr) -> str:
    """The last part of a name."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _is_view(node: ast.expr) -> bool:
    """Whether it is a view of a dictionary's keys or items, which algebra turns into a set."""
    return isinstance(node, ast.Call) and _short(node.func) in {"keys", "items"}
