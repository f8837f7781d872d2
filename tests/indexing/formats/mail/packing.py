"""Makes messages of Outlook: an OLE container (MS-CFB) with a stream per property (MS-OXMSG)."""

from __future__ import annotations

import struct
from typing import Any

_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def container(tree: dict[str, Any]) -> bytes:
    """A container of streams (bytes) and storages (dicts)."""
    entries: list[dict[str, Any]] = [{"name": "Root Entry", "kind": 5, "child": _FREE, "right": _FREE, "data": b""}]

    def add(storage: dict[str, Any]) -> int:
        """Entries of a storage, each the right neighbour of the one before; the number of the first."""
        before = first = _FREE
        for name, content in storage.items():
            number = len(entries)
            kind = 1 if isinstance(content, dict) else 2
            data = b"" if isinstance(content, dict) else content
            entries.append({"name": name, "kind": kind, "child": _FREE, "right": _FREE, "data": data})
            if isinstance(content, dict):
                entries[number]["child"] = add(content)
            if before == _FREE:
                first = number
            else:
                entries[before]["right"] = number
            before = number
        return first

    entries[0]["child"] = add(tree)
    sectors: list[bytes] = []
    fat: list[int] = []

    def write(data: bytes) -> int:
        """The number of the first sector of the data."""
        if not data:
            return _END
        start = len(sectors)
        count = -(-len(data) // 512)
        sectors.extend(data[i * 512 : (i + 1) * 512].ljust(512, b"\0") for i in range(count))
        fat.extend([*range(start + 1, start + count), _END])
        return start

    small = b""
    mini: list[int] = []
    for entry in entries[1:]:
        data = entry["data"]
        if len(data) >= 4096:
            entry["start"] = write(data)
        elif data:
            entry["start"] = len(mini)
            count = -(-len(data) // 64)
            mini += [*range(len(mini) + 1, len(mini) + count), _END]
            small += data.ljust(count * 64, b"\0")
    entries[0]["start"], entries[0]["data"] = write(small), small
    mini_fat = write(b"".join(struct.pack("<I", value) for value in mini).ljust(-(-len(mini) // 128) * 512, b"\xff"))
    directory = b"".join(_entry(entry) for entry in entries)
    directory_start = write(directory.ljust(-(-len(directory) // 512) * 512, b"\0"))
    fat_sectors = 1
    while (len(fat) + fat_sectors) > fat_sectors * 128:
        fat_sectors += 1
    places = [len(sectors) + i for i in range(fat_sectors)]
    fat += [_FAT] * fat_sectors
    table = b"".join(struct.pack("<I", value) for value in fat).ljust(fat_sectors * 512, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack(
        "<IIIIIIIII", 0, fat_sectors, directory_start, 0, 4096, mini_fat, -(-len(mini) // 128), _END, 0
    )
    header += b"".join(struct.pack("<I", place) for place in places).ljust(436, b"\xff")
    return header + b"".join(sectors) + table


def _entry(entry: dict[str, Any]) -> bytes:
    name = entry["name"].encode("utf-16-le")
    described = name.ljust(64, b"\0") + struct.pack("<HBB", len(name) + 2, entry["kind"], 1)
    described += struct.pack("<III", _FREE, entry["right"], entry["child"]) + bytes(36)
    return described + struct.pack("<IQ", entry.get("start", _END), len(entry["data"]))


def properties(header: int, **numbers: int) -> bytes:
    """The stream of properties; names are hexadecimal: `x00390040=...`."""
    rows = [struct.pack("<HHIQ", int(name[5:9], 16), int(name[1:5], 16), 6, value) for name, value in numbers.items()]
    return bytes(header) + b"".join(rows)


def message(attachments: tuple[dict[str, Any], ...] = (), header: int = 32, **texts: Any) -> dict[str, Any]:
    """A message; `x0037="Subject"` is a text, `x10130102=b"..."` a stream of this type, a number a property."""
    numbers = {name: value for name, value in texts.items() if isinstance(value, int)}
    tree: dict[str, Any] = {"__properties_version1.0": properties(header, **numbers)}
    for name, value in texts.items():
        if isinstance(value, str):
            tree[f"__substg1.0_{name[1:5]}001F"] = value.encode("utf-16-le")
        elif isinstance(value, bytes):
            tree[f"__substg1.0_{name[1:]}"] = value
    for number, attachment in enumerate(attachments):
        tree[f"__attach_version1.0_#{number:08X}"] = attachment
    return tree


def attached(name: str, data: bytes | dict[str, Any], kind: str = "") -> dict[str, Any]:
    """An attachment: a file, or a message."""
    tree: dict[str, Any] = {"__properties_version1.0": properties(8), "__substg1.0_3707001F": name.encode("utf-16-le")}
    tree["__substg1.0_3701000D" if isinstance(data, dict) else "__substg1.0_37010102"] = data
    if kind:
        tree["__substg1.0_370E001F"] = kind.encode("utf-16-le")
    return tree
