"""Every line above INFO that the service can log, read from the syntax trees of its modules.

A line is its text, with … for what varies: `logger.warning("%s is late: %s", name, why)` and the f-string of the same
words are both `… is late: …`. If that leaves no word, the names in it are looked up in the function. If a function logs
what it is given, its calls are looked up.
"""

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

VARIES = "…"
_ABOVE_INFO = {"WARNING", "ERROR", "CRITICAL"}
_NAMED = {"warning", "error", "critical", "exception"}
_SPEC = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z%]")
_VARIANTS_MAX = 20


@dataclass(frozen=True)
class Line:
    """One text that can be logged, and the module and line of the code that logs it."""

    text: str
    where: str


@dataclass(frozen=True)
class _Sink:
    """The positions of the arguments of a logging call. `level` None: its name says that it is above INFO."""

    message: int
    level: int | None = None


_SINKS = {name: _Sink(0) for name in _NAMED} | {"log": _Sink(1, 0), "once": _Sink(3, 1)}
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module


def lines_above_info(package: Path) -> list[Line]:
    """Of all modules below a folder, in the order of their paths."""
    return [line for path in sorted(package.rglob("*.py")) for line in _Module(path, package).lines()]


def literals(package: Path) -> list[str]:
    """Every text within an expression of a module, from which lines are put together; no docstrings or comments."""
    found: list[str] = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told)
        found += [node.value for node in constants if isinstance(node.value, str)]
    return found


class _Module:
    def __init__(self, path: Path, package: Path) -> None:
        self._where = str(path.relative_to(package))
        self._tree = ast.parse(path.read_text(encoding="utf-8"))
        self._function: dict[ast.AST, _Function] = {}
        self._enter(self._tree, self._tree)
        self._calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call)]
        self._sinks = dict(_SINKS)
        self._wrapped: set[ast.Call] = set()
        self._find_wrappers()

    def _enter(self, node: ast.AST, function: _Function) -> None:
        for child in ast.iter_child_nodes(node):
            self._function[child] = function
            self._enter(child, child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function)

    def _find_wrappers(self) -> None:
        """A function that logs one of its arguments, without words of its own, counts as a logger."""
        for call in self._calls:
            sink, function = self._sink(call), self._function[call]
            if sink is None or not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
            told = [node.id for node in ast.walk(call) if isinstance(node, ast.Name) and node.id in given]
            level = call.args[sink.level] if sink.level is not None else None
            passes_level = isinstance(level, ast.Name) and level.id in given
            told = [name for name in told if not (passes_level and name == getattr(level, "id", ""))]
            shallow = self._texts(call.args[sink.message], function, deep=False)
            if told and not any(map(_has_words, shallow)):
                of_level = given.index(level.id) if passes_level and isinstance(level, ast.Name) else None
                if of_level is None and not self._is_above_info(call, sink):
                    continue
                self._sinks[function.name] = _Sink(given.index(told[0]), of_level)
                self._wrapped.add(call)

    def _sink(self, call: ast.Call) -> _Sink | None:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        sink = self._sinks.get(name)
        if sink is None or len(call.args) <= max(sink.message, sink.level or 0):
            return None
        of_a_logger = isinstance(call.func, ast.Attribute) and "log" in ast.unparse(call.func.value)
        return sink if of_a_logger or name not in (*_NAMED, "log") else None

    def _is_above_info(self, call: ast.Call, sink: _Sink) -> bool:
        if sink.level is None:
            return True
        level = call.args[sink.level]
        values = [level, *self._assigned(level.id, self._function[call])] if isinstance(level, ast.Name) else [level]
        return any(getattr(node, "attr", "") in _ABOVE_INFO for value in values for node in ast.walk(value))

    def lines(self) -> Iterator[Line]:
        for call in self._calls:
            sink = self._sink(call)
            if sink is None or call in self._wrapped or not self._is_above_info(call, sink):
                continue
            message, function = call.args[sink.message], self._function[call]
            texts = self._texts(message, function, deep=False)
            if not any(map(_has_words, texts)):
                texts = self._with_arguments(message, call.args[sink.message + 1 :], function)
            yield from (Line(_plain(text), f"{self._where}:{call.lineno}") for text in dict.fromkeys(texts))

    def _with_arguments(self, message: ast.expr, arguments: list[ast.expr], function: _Function) -> list[str]:
        """The variants of the message, with the texts of its arguments filled in as far as they are known."""
        found: list[str] = []
        filled = [self._texts(argument, function, deep=True) for argument in arguments]
        for text in self._texts(message, function, deep=True):
            for values in itertools.islice(itertools.product(*filled), _VARIANTS_MAX):
                rest = iter(values)
                found.append(re.sub(VARIES, lambda _, rest=rest: next(rest, VARIES), text) if values else text)
        return found

    def _texts(self, node: ast.expr, function: _Function, *, deep: bool) -> list[str]:
        """The texts that an expression may give."""
        match node:
            case ast.Constant(value=str(text)):
                return [_SPEC.sub(lambda found: "%" if found[0] == "%%" else VARIES, text)]
            case ast.JoinedStr(values=parts):
                return _joined(self._texts(part, function, deep=deep) for part in parts)
            case ast.FormattedValue(value=inner) if deep and isinstance(inner, ast.Name):
                return self._texts(inner, function, deep=True)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined(self._texts(side, function, deep=deep) for side in (left, right))
            case ast.IfExp(body=first, orelse=second):
                return [*self._texts(first, function, deep=deep), *self._texts(second, function, deep=deep)]
            case ast.Name(id=name):
                values = [value for value in self._assigned(name, function) if _tells(value)]
                if values:
                    return [text for value in values for text in self._texts(value, function, deep=False)]
        return [VARIES]

    def _assigned(self, name: str, function: _Function) -> list[ast.expr]:
        """The values that a name is set to within the function."""
        found: list[ast.expr] = []
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        found.append(node.value)
            elif isinstance(node, ast.NamedExpr) and node.target.id == name:
                found.append(node.value)
        return found


def _tells(value: ast.expr) -> bool:
    return any(isinstance(node, ast.Constant) and isinstance(node.value, str) for node in ast.walk(value))


def _joined(parts: Iterable[list[str]]) -> list[str]:
    return ["".join(each) for each in itertools.islice(itertools.product(*parts), _VARIANTS_MAX)]


def _has_words(text: str) -> bool:
    return re.search(r"[A-Za-z]{3}", text) is not None


def _plain(text: str) -> str:
    """Several … in a row become one."""
    return re.sub(rf"{VARIES}(?:{VARIES})+", VARIES, text)
