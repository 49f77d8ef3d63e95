# ruff: noqa: ANN401 -- this is where values of every declared type pass through
"""How a message is declared: one class for all its versions.

    @message(api=ApiKey.HEARTBEAT, versions=(0, 4), flexible_from=4)
    class HeartbeatRequest:
        group_id: str = at(STRING)
        group_instance_id: str | None = at(STRING, since=3, nullable=True, default=None)

The decorators turn such a body into a slotted class with a keyword-only constructor, in which every
argument may be left out (its default is the schema's, or the zero of its type), with equality and a
repr. `decoding` and `encoding` compile a declaration into straight-line functions, one per version.
Nested structures are declared with `@struct` and take their versions from the message around them.

Declaring is cheap, since a broker imports some forty modules of declarations at its start: the
constructor is compiled at its first call, the codec at the first use of a version.
"""

import uuid
from collections.abc import Callable
from typing import Any, ClassVar, Final, NoReturn, TypeVar, dataclass_transform

from ottla.protocol.kafka.api_keys import ApiKey

T = TypeVar("T")

LATEST: Final = 32767
NEVER: Final = LATEST + 1


class Kind:
    """A wire type. `format` is its letter for `struct`, empty when its size varies."""

    __slots__ = ("format", "name", "size", "zero")

    def __init__(self, name: str, letter: str = "", size: int = 0, zero: object = 0) -> None:
        self.name = name
        self.format = letter
        self.size = size
        self.zero = zero

    def __repr__(self) -> str:
        return self.name


class Array:
    """An array of `element`: a kind or a structure."""

    __slots__ = ("element",)

    def __init__(self, element: "Kind | type") -> None:
        self.element = element


BOOL: Final = Kind("bool", "?", 1, zero=False)
INT8: Final = Kind("int8", "b", 1)
INT16: Final = Kind("int16", "h", 2)
UINT16: Final = Kind("uint16", "H", 2)
INT32: Final = Kind("int32", "i", 4)
INT64: Final = Kind("int64", "q", 8)
FLOAT64: Final = Kind("float64", "d", 8, zero=0.0)
UUID: Final = Kind("uuid", "16s", 16, zero=uuid.UUID(int=0))
STRING: Final = Kind("string", zero="")
BYTES: Final = Kind("bytes", zero=b"")
RECORDS: Final = Kind("records", zero=None)


def array(element: Kind | type) -> Array:
    """The kind of a field that holds a list."""
    return Array(element)


_UNSET: Final = object()


class Field:
    """One declared field. It is on the wire in versions `since` to `until`, both included.

    From `nullable_since` on it may be None. A field with a `tag` travels in the tagged section of
    the structure from version `tagged_since` on and is left out there while it has its default.
    """

    __slots__ = (
        "default",
        "flexible",
        "ignorable",
        "kind",
        "name",
        "nullable_since",
        "since",
        "tag",
        "tagged_since",
        "until",
    )

    name: str

    def __init__(  # noqa: PLR0917 -- positional, as it runs once per field at import
        self,
        kind: Kind | Array | type,
        since: int,
        until: int,
        nullable_since: int,
        default: Any,
        ignorable: bool,
        tag: int | None,
        tagged_since: int,
        flexible: bool,
    ) -> None:
        self.kind = kind
        self.since = since
        self.until = until
        self.nullable_since = nullable_since
        self.default = default
        self.ignorable = ignorable
        self.tag = tag
        self.tagged_since = tagged_since
        self.flexible = flexible

    def is_in(self, version: int) -> bool:
        return self.since <= version <= self.until

    def is_tagged_in(self, version: int) -> bool:
        return self.tag is not None and version >= self.tagged_since

    def is_nullable_in(self, version: int) -> bool:
        return version >= self.nullable_since

    @property
    def is_fresh_list(self) -> bool:
        """Whether the default is a new empty list."""
        return self.default is _UNSET and isinstance(self.kind, Array)

    def default_value(self) -> Any:
        """The default; for a structure the one shared, read-only instance of it."""
        if self.default is not _UNSET:
            return self.default
        if isinstance(self.kind, Array):
            return []
        if isinstance(self.kind, Kind):
            return self.kind.zero
        return shared_default(self.kind)


def at(
    kind: Kind | Array | type,
    *,
    since: int = 0,
    until: int = LATEST,
    nullable: bool = False,
    nullable_since: int = NEVER,
    default: Any = _UNSET,
    ignorable: bool = False,
    tag: int | None = None,
    tagged_since: int = 0,
    flexible: bool = True,
) -> Any:
    """Declare a field. `ignorable`: a version without the field may drop a value that is set.

    `flexible=False` keeps the classic encoding of a length even in flexible versions.
    """
    return Field(
        kind,
        since,
        until,
        0 if nullable else nullable_since,
        default,
        ignorable,
        tag,
        tagged_since,
        flexible,
    )


class Schema:
    """What the compilers know about a class; its functions by version are kept here too."""

    __slots__ = (
        "api",
        "cls",
        "decoders",
        "encoders",
        "fields",
        "flexible_from",
        "has_records",
        "name",
        "shared",
        "versions",
    )

    cls: type  # the class that the schema belongs to

    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        self.name = name
        self.fields = fields
        self.api: ApiKey | None = None
        self.versions: tuple[int, int] | None = None  # None: a nested structure
        self.flexible_from = NEVER
        self.decoders: dict[int, Callable[[Any, int], tuple[Any, int]]] = {}
        self.encoders: dict[int, Callable[[Any, Any], None]] = {}
        self.has_records: bool | None = None  # None: not looked for yet
        self.shared: Any = None


class Struct:
    """What declared classes share. Values are mutable and therefore not hashable."""

    __slots__ = ()
    __schema__: ClassVar[Schema]
    __hash__: ClassVar[None]  # type: ignore[assignment]  # mypy's view of object.__hash__

    def __init__(self, **values: Any) -> None:
        cls = _declared(type(self))
        cls.__init__ = _constructor(cls.__schema__)  # type: ignore[method-assign]  # compiled late
        self.__init__(**values)  # type: ignore[misc]  # the constructor that was just compiled

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Struct) or other.__schema__ is not self.__schema__:
            return NotImplemented
        names = [field.name for field in self.__schema__.fields]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __repr__(self) -> str:
        schema = self.__schema__
        values = ", ".join(f"{f.name}={getattr(self, f.name, '?')!r}" for f in schema.fields)
        return f"{schema.name}({values})"


def schema_of(cls: type) -> Schema:
    """The schema of a declared class."""
    assert issubclass(cls, Struct), f"{cls.__name__} is not declared with @message or @struct"
    return cls.__schema__


def holds_records(cls: type) -> bool:
    """Whether a RECORDS field is anywhere inside the class."""
    schema = schema_of(cls)
    if schema.has_records is None:
        schema.has_records = any(
            kind is RECORDS or (isinstance(kind, type) and holds_records(kind))
            for kind in (
                f.kind.element if isinstance(f.kind, Array) else f.kind for f in schema.fields
            )
        )
    return schema.has_records


def shared_default(cls: type[T]) -> T:
    """The instance of `cls` with all defaults that stands for "not given". It cannot be changed.

    Sharing it keeps a response with a thousand partitions from building three thousand structures
    that the wire will not carry.
    """
    schema = schema_of(cls)
    if schema.shared is None:
        instance = cls()
        space = {
            "__slots__": (),  # the same layout, or the class could not be exchanged
            "__setattr__": _refuse_change,
            "__copy__": _itself,
            "__deepcopy__": _itself,
        }
        instance.__class__ = type(cls.__name__, (cls,), space)
        schema.shared = instance
    shared: T = schema.shared
    return shared


def _refuse_change(self: Struct, name: str, value: object) -> NoReturn:
    raise AttributeError(
        f"cannot set {name} of a shared default {type(self).__name__}: assign a new one instead"
    )


def _itself(self: Struct, *_: object) -> Struct:
    return self


def _declared(cls: type) -> type[Struct]:
    """The class that the decorator made, given it or its read-only subclass."""
    return next(c for c in cls.__mro__ if "__schema__" in c.__dict__)


def _constructor(schema: Schema) -> Callable[..., None]:
    arguments, body = [], []
    names: dict[str, Any] = {"UNSET": _UNSET}
    for position, field in enumerate(schema.fields):
        name = field.name
        if field.is_fresh_list:
            arguments.append(f"{name}=UNSET")
            body.append(f" self.{name} = [] if {name} is UNSET else {name}")
        else:
            names[f"d{position}"] = field.default_value()
            arguments.append(f"{name}=d{position}")
            body.append(f" self.{name} = {name}")
    head = f"def __init__(self, *, {', '.join(arguments)}):" if arguments else "def __init__(self):"
    source = "\n".join([head, *body, " pass"])
    exec(compile(source, f"<{schema.name}.__init__>", "exec"), names)
    constructor: Callable[..., None] = names["__init__"]
    return constructor


def _declare(cls: type[T]) -> type[T]:
    space = dict(cls.__dict__)
    fields = []
    for name, value in cls.__dict__.items():
        if type(value) is Field:
            value.name = name
            fields.append(value)
            del space[name]
    del space["__dict__"], space["__weakref__"]
    space["__slots__"] = tuple([field.name for field in fields])
    space["__schema__"] = Schema(cls.__name__, tuple(fields))
    made = type(cls.__name__, (Struct,), space)
    space["__schema__"].cls = made
    return made


@dataclass_transform(kw_only_default=True)
def struct(cls: type[T]) -> type[T]:
    """Declare a structure that occurs inside messages."""
    return _declare(cls)


@dataclass_transform(kw_only_default=True)
def message(
    *, versions: tuple[int, int], flexible_from: int = NEVER, api: ApiKey | None = None
) -> Callable[[type[T]], type[T]]:
    """Declare a message with its first and last version, and the first one with tagged fields."""

    def declare(cls: type[T]) -> type[T]:
        made = _declare(cls)
        schema = schema_of(made)
        schema.versions = versions
        schema.flexible_from = flexible_from
        schema.api = api
        return made

    return declare
