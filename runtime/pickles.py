"""Look at a pickle without running it: which operations it holds, and how large what it builds could grow.

A restricted unpickler keeps a pickle from running code, but not from building what cannot be
handled: a few hundred bytes of lists that hold each other twice (the "billion laughs") stand for
2¹⁰⁰ objects, and tuples nested a million deep overflow the stack of whoever hashes them.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from pickle import UnpicklingError

MAX_OPERATIONS = 5_000_000
MAX_OBJECTS = 20_000_000  # counted as if everything that is referred to twice were there twice
MAX_DEPTH = 100
MAX_STACK = 20_000  # picklers put a thousand objects into a container at a time

_FETCH = frozenset(("GET", "BINGET", "LONG_BINGET"))
_STORE = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_PUSH = frozenset(  # a new value made of nothing on the stack: strings, numbers, empty lists; most operations are such
    opcode.name
    for opcode in pickletools.opcodes
    if not opcode.stack_before and len(opcode.stack_after) == 1 and opcode.name not in {"MARK", *_FETCH}
)
_GROW = frozenset(("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"))


@dataclass(slots=True)
class _Built:
    """What is known of an object on the unpickler's stack."""

    objects: int = 1
    depth: int = 1


def check_pickle(data: bytes, allowed: frozenset[str] | None = None) -> None:
    """Follow the pickle at the beginning of `data`, keeping books only.

    Args:
        data: the pickle; what follows its end is not looked at.
        allowed: names of the operations (of `pickletools.opcodes`) it may hold; None: any.

    Raises:
        UnpicklingError: another operation, or more than this module's limits.
        Exception: nearly anything, for a damaged pickle.
    """
    stack: list[_Built | None] = []  # None: a mark
    memo: dict[int, _Built] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count >= MAX_OPERATIONS:
            raise UnpicklingError(f"more than {MAX_OPERATIONS} operations")
        name = opcode.name
        if allowed is not None and name not in allowed:
            raise UnpicklingError(f"the operation {name} is not allowed")
        if len(stack) > MAX_STACK:
            raise UnpicklingError(f"it keeps more than {MAX_STACK} objects waiting")
        if name in _PUSH:
            stack.append(_Built())
        elif name == "MARK":
            stack.append(None)
        elif name in _FETCH:
            stack.append(memo[int(argument)])
        elif name in _STORE:
            if int(argument) > len(data):  # the C unpickler sizes its memo by the largest index it is told
                raise UnpicklingError("an absurd memo index")
            memo[int(argument)] = _top(stack)
        elif name == "MEMOIZE":
            memo[len(memo)] = _top(stack)
        else:
            taken = _take(stack, opcode)
            built = taken.pop(0) if name in _GROW else _Built()
            built.objects += sum(part.objects for part in taken)
            built.depth = max([built.depth, *(part.depth + 1 for part in taken)])
            if built.objects > MAX_OBJECTS:
                raise UnpicklingError(f"it stands for more than {MAX_OBJECTS} objects")
            if built.depth > MAX_DEPTH:
                raise UnpicklingError(f"it is nested more than {MAX_DEPTH} deep")
            stack.extend(built for _ in opcode.stack_after)


def _top(stack: list[_Built | None]) -> _Built:
    if not stack or stack[-1] is None:
        raise UnpicklingError("nothing to remember")
    return stack[-1]


def _take(stack: list[_Built | None], opcode: pickletools.OpcodeInfo) -> list[_Built]:
    """Remove and return what an operation takes from the stack, deepest first."""
    before = opcode.stack_before
    taken: list[_Built | None] = []
    if pickletools.markobject in before:
        while (part := stack.pop()) is not None:
            taken.append(part)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    if None in taken and opcode.name != "POP":
        raise UnpicklingError("a mark where a value is expected")
    return [part for part in reversed(taken) if part is not None]
