"""Checks what a checkpoint would build, before anything is built.

Loading with ``weights_only`` runs no code, but a small file can still keep it
busy for minutes, or make it allocate tensors larger than any memory. So the
file's pickle is read operation by operation, with stand-ins for all objects.
"""
import math
import os.path as osp
import pickle
import pickletools
import zipfile
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple

import torch

# far more than any network needs; each takes about 2 microseconds. A log needs
# one for about 32 bytes
_MAX_OPERATIONS, _BYTES_PER_OPERATION = 3_000_000, 16
# above all limits; keeps the weights of nested tuples short
_MAX_WEIGHT = 10**15
# numbers as keys can be chosen so that look-ups take quadratic time
_MAX_NUMBERS_AS_KEYS = 20_000
# memory allowed for shared and repeated tensors: _FACTOR times the file's size
# plus _SPARE
_FACTOR, _SPARE = 4, 64 * 2**20

_ITEM_SIZES = dict(
    Double=8, Long=8, ComplexFloat=8, ComplexDouble=16, Float=4, Int=4,
    Half=2, BFloat16=2, Short=2)  # yapf: disable
_CALLS = {
    'collections.OrderedDict', 'collections.Counter', 'builtins.set',
    'builtins.complex', 'builtins.bytearray', 'torch.Size', 'torch.device',
    'torch._utils._rebuild_parameter', '_codecs.encode', 'numpy.dtype',
    'numpy.ndarray', 'torch.nn.parameter.Parameter'
}
_TENSORS = {'torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_tensor'}


class _Global(NamedTuple):
    """A class or function that the file names."""
    name: str


class _Storage(NamedTuple):
    item_size: int


class _Object:
    """Stands for a list, a dict or the result of a call."""

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight


class ScanError(ValueError):
    """A file would build something that no checkpoint needs."""


def _refuse(found: str) -> None:
    raise ScanError(found)


def _weight(value: Any) -> int:
    """Return how many values must be visited to read a value in full. A value
    that occurs twice in it counts twice."""
    if isinstance(value, (str, bytes)):
        return 1 + len(value) // 64
    if isinstance(value, _Object):
        return value.weight
    if isinstance(value, tuple) and type(value) is tuple:
        return value[0]
    return 1


def _tuple(items: List[Any]) -> tuple:
    """Return a stand-in for a tuple: its weight, then its items."""
    weight = 1 + sum(map(_weight, items))
    return (min(weight, _MAX_WEIGHT), *items)


class _Machine:
    """Follows a pickle; raises ScanError if it would go too far.

    Args:
        size (int): Bytes of the file, which limit memory and operations.
        storage_limit (Callable): Returns the bytes that the file has for the
            storage with a key.
    """

    def __init__(self, size: int, storage_limit: Callable[[str], int]) -> None:
        self.left = _memory(size)
        self.operations = max(_MAX_OPERATIONS, size // _BYTES_PER_OPERATION)
        self.storage_limit = storage_limit
        self.work = 0
        self.number_keys = 0
        self.user_calls = {
            f'{getattr(item, "__module__", "")}.{item.__qualname__}'
            for item in torch.serialization.get_safe_globals()
            if hasattr(item, '__qualname__')
        } | {'builtins.getattr'}

    def run(self, file: BinaryIO) -> None:
        """Follow one pickle, to its end."""
        self.stack: List[Any] = []
        self.marks: List[List[Any]] = []
        self.memo: Dict[int, Any] = {}
        for opcode, argument, _ in pickletools.genops(file):
            self.spend(1)
            method = getattr(self, f'_{opcode.name.lower()}', None)
            if method is not None:
                method(argument)
            elif opcode.name in _PLAIN:
                self.stack.append(argument)
            elif opcode.name in _VALUES:
                self.stack.append(_VALUES[opcode.name]())
            elif opcode.name not in ('PROTO', 'STOP'):
                _refuse(f'the operation {opcode.name}')

    def spend(self, amount: int) -> None:
        self.work += amount
        if self.work > self.operations:
            _refuse(f'more than {self.operations} operations or members')

    def _pop_mark(self) -> List[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self.stack.append(_tuple(items))

    def _take(self, count: int) -> None:
        items = self.stack[-count:]
        del self.stack[-count:]
        self.stack.append(_tuple(items))

    def _tuple1(self, _: Any) -> None:
        self._take(1)

    def _tuple2(self, _: Any) -> None:
        self._take(2)

    def _tuple3(self, _: Any) -> None:
        self._take(3)

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _binput = _long_binput = _put

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    def _extend(self, items: List[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, _Object):
            _refuse('members added to a value without members')
        target.weight += sum(map(_weight, items))

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _set(self, items: List[Any]) -> None:
        for key in items[::2]:
            self._look_at_key(key)
        self._extend(items)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._pop_mark())

    def _look_at_key(self, key: Any) -> None:
        self.spend(_weight(key))
        if not isinstance(key, (str, bytes)):
            self._count_numbers(1)

    def _count_numbers(self, count: int) -> None:
        self.number_keys += count
        if self.number_keys > _MAX_NUMBERS_AS_KEYS:
            _refuse(
                f'more than {_MAX_NUMBERS_AS_KEYS} keys that are not names')

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(' ')
        module = {'__builtin__': 'builtins'}.get(module, module)
        self.stack.append(_Global(f'{module}.{name}'))

    def _build(self, _: Any) -> None:
        self.spend(_weight(self.stack.pop()))

    def _newobj(self, _: Any) -> None:
        self._reduce(_)

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(
                arguments, tuple):
            _refuse('a call of something that is not a function')
        arguments = arguments[1:]
        self.stack.append(self._call(function.name, arguments))

    def _call(self, name: str, arguments: tuple) -> Any:
        weight = sum(map(_weight, arguments))
        self.spend(weight)
        if name in _TENSORS:
            return self._tensor(*arguments[:4])
        numpys = name.startswith('numpy.')
        if name.endswith('._reconstruct') and numpys:
            if arguments[1] != (2, 0):
                _refuse('an array made without its values')
        elif name.endswith('.scalar') and numpys:
            pass
        elif name not in _CALLS and not numpys and name not in self.user_calls:
            _refuse(f'GLOBAL {name}')
        if name == 'builtins.bytearray' and arguments and isinstance(
                arguments[0], int):
            _refuse(f'{arguments[0]} bytes of nothing')
        if name in ('builtins.set', 'collections.Counter'):
            self._count_numbers(weight)
        return _Object(1 + weight)

    def _tensor(self, storage: Any, offset: Any, size: Any,
                stride: Any) -> _Object:
        numbers = [offset, *size[1:], *stride[1:]]
        if not isinstance(storage, _Storage) or not all(
                isinstance(number, int) and number >= 0 for number in numbers):
            _refuse('a tensor whose sizes are not numbers')
        self.left -= math.prod(size[1:]) * storage.item_size
        if self.left < 0:
            _refuse(f'a tensor of shape {size[1:]}, which takes far more '
                    'memory than the file holds')
        return _Object()

    def _binpersid(self, _: Any) -> None:
        identity = self.stack.pop()
        if not isinstance(identity, tuple) or len(identity) < 6:
            _refuse('a storage without a size')
        kind, key, number = identity[2], identity[3], identity[5]
        if not isinstance(kind, _Global) or not isinstance(number,
                                                           int) or number < 0:
            _refuse('a storage without a size')
        name = kind.name.rpartition('.')[2].removesuffix('Storage')
        item_size = _ITEM_SIZES.get(name, 1)
        if number * item_size > self.storage_limit(str(key)):
            _refuse(f'a storage of {number} values, which the file lacks')
        self.stack.append(_Storage(item_size))


_PLAIN = {
    'BININT', 'BININT1', 'BININT2', 'BINFLOAT', 'BINUNICODE', 'LONG1',
    'SHORT_BINSTRING'
}
_VALUES: Dict[str, Callable[[], Any]] = {
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
    'EMPTY_TUPLE': lambda: (1, ),
    'EMPTY_LIST': _Object,
    'EMPTY_DICT': _Object,
    'EMPTY_SET': _Object,
}


def _memory(size: int) -> int:
    """Return the bytes that a file of a size may take when it is loaded."""
    return _FACTOR * size + _SPARE


def scan_checkpoint(path: str) -> None:
    """Check that loading a file takes time and memory in proportion to its
    size.

    Args:
        path (str): A file that ``torch.save`` wrote, in either of its formats.

    Raises:
        ScanError: Loading would take more; the message says what was found.
        Exception: Damaged files may raise anything.
    """
    size = osp.getsize(path)
    with open(path, 'rb') as file:
        start = file.read(4)
        is_zip = start == b'PK\x03\x04'
        if start and not is_zip and start[:1] != pickle.PROTO:
            raise pickle.UnpicklingError('neither an archive nor a pickle')
        file.seek(0)
        if is_zip:
            _scan_zip(file, size)
        else:
            machine = _Machine(size, lambda key: size)
            # magic number, protocol, system, contents, names of storages
            for _ in range(5):
                machine.run(file)


def _scan_zip(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        unpacked = sum(entry.file_size for entry in entries)
        if len(set(names)) < len(names) or unpacked > _memory(size):
            _refuse('an archive that unpacks to far more than the file holds')
        sizes = {
            entry.filename.partition('/')[2]: entry.file_size
            for entry in entries
        }
        name = next((n for n in names if n.partition('/')[2] == 'data.pkl'),
                    None)
        if name is None:
            raise ValueError('an archive without data.pkl')
        machine = _Machine(size, lambda key: sizes.get(f'data/{key}', -1))
        with archive.open(name) as contents:
            machine.run(contents)
