"""A page's characters as pdfium reads them, each with its box on the displayed page, its size and its direction."""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from rag_ft.indexing.formats.pdf.calls import address_of, text_calls

ASCENT, DESCENT = 0.8, 0.2
"""How far a character's box reaches above and below its baseline, as a share of its size. Fonts state more or less than
their letters need; with this, boxes of neighbouring lines do not meet."""

_LINE_HYPHENS = frozenset((0x2, 0xFFFE))
"""What pdfium writes for a hyphen at the end of a line."""
_SMALLEST, _LARGEST = 0.01, 10_000.0
_LEVEL, _ASKEW = 0.02, 4.0
"""Degrees by which text may differ from a right angle: to be exactly in it, and to be read like what is."""
_EDGE = 0.5
"""Points by which a character's centre may lie outside the page that is shown."""
_BOLD_WEIGHT = 600
_FIXED_PITCH, _FORCED_BOLD = 1, 1 << 18
"""Flags of a font (ISO 32000, table 121)."""
_MONO_NAMES = (
    "mono",
    "courier",
    "consol",
    "menlo",
    "typewriter",
    "cmtt",
    "sftt",
    "ectt",
    "lmtt",
    "inconsolata",
    "code",
)
_BOLD_NAMES = ("bold", "black", "heavy", "cmbx", "sfbx", "ecbx", "-bd", "demi")


class Style(NamedTuple):
    """How a character is set."""

    size: float
    bold: bool
    mono: bool


class Frame(NamedTuple):
    """Turns the displayed page so that text of one direction reads from left to right, and lines follow downwards."""

    cos: float
    sin: float
    left: float
    top: float

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """A point of the displayed page, turned."""
        return x * self.cos + y * self.sin - self.left, y * self.cos - x * self.sin - self.top


class Glyph(NamedTuple):
    """A character in the frame of its direction."""

    text: str
    x0: float
    x1: float
    baseline: float
    style: Style
    box: int
    """Number of its box in `Boxes`; -1 if it is not drawn."""


class Boxes:
    """Boxes of all characters of a document, as `Extracted.char_boxes` states them."""

    def __init__(self) -> None:
        self.values = array("H")
        """Four of each box."""

    def add(self, box: tuple[float, float, float, float], width: float, height: float) -> int:
        """Add a box on a displayed page of this size; returns its number."""
        x0, y0, x1, y1 = box
        self.values.extend((_whole(x0 / width), _whole(y0 / height), _whole(x1 / width), _whole(y1 / height)))
        return len(self.values) // 4 - 1

    def packed(self, numbers: array[int]) -> bytes:
        """Boxes of these numbers, little-endian; zeros for -1."""
        values = self.values
        packed = array("H")
        for number in numbers:
            packed.extend(values[number * 4 : number * 4 + 4] if number >= 0 else (0, 0, 0, 0))
        if array("H", (1,)).tobytes() != b"\1\0":
            packed.byteswap()
        return packed.tobytes()


def _whole(share: float) -> int:
    """A share of a page as 65535ths."""
    return 0 if share < 0 else 65535 if share > 1 else int(share * 65535 + 0.5)


class Sheet:
    """A page as it is displayed: turned, and cut to its crop box."""

    def __init__(self, page: Any) -> None:
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._turn = page.get_rotation() // 90 % 4
        across, up = self._right - self._left, self._top - self._bottom
        self.width, self.height = (up, across) if self._turn % 2 else (across, up)
        self.width, self.height = max(self.width, _SMALLEST), max(self.height, _SMALLEST)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point of the page, measured from the top left corner as displayed."""
        if self._turn == 0:
            return x - self._left, self._top - y
        if self._turn == 1:
            return y - self._bottom, x - self._left
        if self._turn == 2:
            return self._right - x, y - self._bottom
        return self._top - y, self._right - x

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """A box of the page, measured from the top left corner as displayed."""
        ax, ay = self.point(x0, y0)
        bx, by = self.point(x1, y1)
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

    def shows(self, box: tuple[float, float, float, float]) -> bool:
        """Whether the centre of a displayed box is on the page."""
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return bool(-_EDGE <= x <= self.width + _EDGE and -_EDGE <= y <= self.height + _EDGE)

    def frame(self, angle: int) -> Frame:
        """The frame for text that runs at an angle of whole degrees, clockwise as displayed."""
        corner = {0: (0.0, 0.0), 90: (0.0, -self.width), 180: (-self.width, -self.height), 270: (-self.height, 0.0)}
        left, top = corner.get(angle, (0.0, 0.0))
        cos, sin = {0: (1.0, 0.0), 90: (0.0, 1.0), 180: (-1.0, 0.0), 270: (0.0, -1.0)}.get(
            angle, (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
        )
        return Frame(cos, sin, left, top)


class _Setting(NamedTuple):
    """What the characters of one text object share."""

    style: Style
    angle: int
    frame: Frame
    baseline: float
    below: float
    """Distance from the baseline down to the edge of a character's loose box."""
    level: _Level | None
    """None for text that does not run along an edge of the page exactly."""
    shown: bool
    glyphs: list[Glyph]
    """Where its characters are put."""


class _Level(NamedTuple):
    """How text that runs along an edge of the page turns from the page's coordinates into those of its frame."""

    by_x: bool
    """Whether it runs along the page's own x axis."""
    step: float
    start: float
    """Its place in the frame is `step` times the coordinate, plus `start`."""
    length: float
    """Of the displayed page, in its direction."""
    upright: bool
    """Whether it runs across the displayed page, to the right or left."""
    backward: bool
    """Whether it runs to the left or upwards."""
    edges: tuple[int, int]
    """The other two edges of its boxes, as 65535ths of the displayed page."""


class PageText:
    """The characters of a page by direction."""

    def __init__(self, sheet: Sheet, boxes: Boxes) -> None:
        import pypdfium2.raw as pdfium

        self.sheet = sheet
        self._boxes = boxes
        self._settings: dict[tuple[float, ...], _Setting] = {}
        self._matrix, self._x, self._y = pdfium.FS_MATRIX(), ctypes.c_double(), ctypes.c_double()
        self.glyphs: dict[int, list[Glyph]] = {}  # may hold empty lists
        """By the angle of their direction, in the order in which the page draws them."""

    def read(self, content: Any) -> None:
        """Read the characters of a pdfium text page."""
        import pypdfium2.raw as pdfium

        rectangle = pdfium.FS_RECTF()
        target = ctypes.addressof(rectangle)
        page = address_of(content)
        calls = text_calls()
        object_of, unicode_of, box_of = calls.object_of, calls.unicode_of, calls.box_of
        address: int | None = None
        setting: _Setting | None = None
        boxes = self._boxes.values
        for index in range(content.count_chars()):
            drawn_by = object_of(page, index)
            if not drawn_by:
                continue  # a space or line end that pdfium adds
            text = _character(unicode_of(page, index))
            if not text or not box_of(page, index, target):
                continue
            if setting is None or drawn_by != address:
                address, setting = drawn_by, self._setting(content, index, drawn_by, rectangle)
                style, baseline, add = setting.style, setting.baseline, setting.glyphs.append
                if setting.level is not None:
                    by_x, step, start, length, upright, backward, (top, bottom) = setting.level
                    scale = 65535 / length
            if setting.level is None:
                self._add_askew(text, rectangle, setting)
                continue
            # The rest is done for every character of most documents, so it calls nothing and reads local names only.
            if by_x:
                x0, x1 = rectangle.left * step + start, rectangle.right * step + start
            else:
                x0, x1 = rectangle.bottom * step + start, rectangle.top * step + start
            if x0 > x1:
                x0, x1 = x1, x0
            if not setting.shown or not -_EDGE <= (x0 + x1) / 2 <= length + _EDGE:
                continue
            begin, end = ((length - x1) * scale, (length - x0) * scale) if backward else (x0 * scale, x1 * scale)
            low = 0 if begin < 0 else 65535 if begin > 65535 else int(begin + 0.5)
            high = 65535 if end > 65535 else 0 if end < 0 else int(end + 0.5)
            add(Glyph(text, x0, x1, baseline, style, len(boxes) // 4))
            boxes.extend((low, top, high, bottom) if upright else (top, low, bottom, high))

    def _add_askew(self, text: str, loose: Any, setting: _Setting) -> None:
        box = self.sheet.box(loose.left, loose.bottom, loose.right, loose.top)
        if not self.sheet.shows(box):
            return
        size, frame = setting.style.size, setting.frame
        number = self._boxes.add(box, self.sheet.width, self.sheet.height)
        x0, y0, x1, y1 = box
        if setting.angle % 90:
            # The box is larger than the character: its centre and size say where the character is.
            middle, across = frame.turned((x0 + x1) / 2, (y0 + y1) / 2)
            left, right, baseline = middle - size / 4, middle + size / 4, across + (ASCENT - DESCENT) / 2 * size
        else:
            (ax, ay), (bx, by) = frame.turned(x0, y0), frame.turned(x1, y1)
            left, right, baseline = min(ax, bx), max(ax, bx), max(ay, by) - setting.below
        setting.glyphs.append(Glyph(text, left, right, baseline, setting.style, number))

    def _setting(self, content: Any, index: int, drawn_by: int, loose: Any) -> _Setting:
        """How the text object at an address sets its characters, of which this is one with this loose box."""
        import pypdfium2.raw as pdfium

        matrix, x, y = self._matrix, self._x, self._y
        pdfium.FPDFText_GetMatrix(content.raw, index, ctypes.byref(matrix))
        stated = pdfium.FPDFText_GetFontSize(content.raw, index)
        pdfium.FPDFText_GetCharOrigin(content.raw, index, ctypes.byref(x), ctypes.byref(y))
        # Many programs draw each character by an object of its own: those of a line are set alike.
        font = text_calls().font_of(drawn_by)
        across = y.value if matrix.b == 0 else x.value if matrix.a == 0 else index
        key = (font, stated, matrix.a, matrix.b, matrix.c, matrix.d, across)
        setting = self._settings.get(key)
        if setting is None:
            setting = self._settings[key] = self._new_setting(content, index, stated, loose)
        return setting

    def _new_setting(self, content: Any, index: int, stated: float, loose: Any) -> _Setting:
        sheet, matrix, x, y = self.sheet, self._matrix, self._x, self._y
        origin = sheet.point(x.value, y.value)
        ahead = sheet.point(x.value + matrix.a, y.value + matrix.b)
        angle = math.degrees(math.atan2(ahead[1] - origin[1], ahead[0] - origin[0]))
        right_angle = round(angle / 90) * 90
        is_level = abs(angle - right_angle) < _LEVEL
        whole = (right_angle if abs(angle - right_angle) < _ASKEW else round(angle)) % 360
        frame = sheet.frame(whole)
        box = sheet.box(loose.left, loose.bottom, loose.right, loose.top)
        across = [frame.turned(box[0], box[1])[1], frame.turned(box[2], box[3])[1]]
        size = abs(stated) * math.hypot(matrix.c, matrix.d)
        if not (math.isfinite(size) and _SMALLEST <= size <= _LARGEST):
            size = max(max(across) - min(across), _SMALLEST)
        baseline = frame.turned(*origin)[1]
        below = max(across) - baseline
        if not 0 <= below <= size:
            below = DESCENT * size
            baseline = max(across) - below
        style = Style(round(size, 2), *_weight_and_pitch(content, index))
        middle = baseline - (ASCENT - DESCENT) / 2 * size
        breadth = sheet.width if whole in (90, 270) else sheet.height
        shown = not is_level or -_EDGE <= middle <= breadth + _EDGE
        level = self._level(whole, frame, baseline, size, breadth) if is_level else None
        return _Setting(style, whole, frame, baseline, below, level, shown, self.glyphs.setdefault(whole, []))

    def _level(self, angle: int, frame: Frame, baseline: float, size: float, breadth: float) -> _Level:
        sheet = self.sheet
        places = [frame.turned(*sheet.point(*point))[0] for point in ((0, 0), (1, 0), (0, 1))]
        by_x = abs(places[1] - places[0]) > 0.5
        step = (places[1] if by_x else places[2]) - places[0]
        top, bottom = baseline - ASCENT * size, baseline + DESCENT * size
        if angle in (90, 180):  # lines follow to the left, or upwards
            top, bottom = breadth - bottom, breadth - top
        edges = (_whole(top / breadth), _whole(bottom / breadth))
        length = sheet.height if angle % 180 else sheet.width
        return _Level(by_x, step, places[0], length, angle % 180 == 0, angle in (180, 270), edges)

    def add_mark(self, text: str, box: tuple[float, float, float, float]) -> None:
        """Add a mark that the page shows in a displayed box, such as whether it is ticked."""
        x0, y0, x1, y1 = box
        size = max(min(y1 - y0, 12.0), 1.0)
        baseline = (y0 + y1) / 2 + (ASCENT - DESCENT) / 2 * size
        number = self._boxes.add(box, self.sheet.width, self.sheet.height)
        glyph = Glyph(text, x0, x1, baseline, Style(size, False, False), number)
        self.glyphs.setdefault(0, []).extend((glyph, glyph._replace(text=" ", x0=x1, box=-1)))

    def add_value(self, text: str, box: tuple[float, float, float, float]) -> None:
        """Add text that the page shows in a displayed box, such as the value of a field, in one or more lines."""
        x0, y0, x1, y1 = box
        lines = text.split("\n")
        size = max(min((y1 - y0) / len(lines) * ASCENT, 12.0), 1.0)
        style = Style(size, False, False)
        for row, line in enumerate(lines):
            top = y0 + (y1 - y0) * row / len(lines)
            bottom = y0 + (y1 - y0) * (row + 1) / len(lines)
            baseline = (top + bottom) / 2 + (ASCENT - DESCENT) / 2 * size
            advance = min(0.5 * size, (x1 - x0) / max(len(line), 1))
            for column, character in enumerate(line):
                left = x0 + advance * column
                number = self._boxes.add((left, top, left + advance, bottom), self.sheet.width, self.sheet.height)
                glyph = Glyph(character, left, left + advance, baseline, style, number)
                self.glyphs.setdefault(0, []).append(glyph)


@lru_cache(maxsize=4_096)
def _character(code: int) -> str:
    """The character of a code; empty if it is none."""
    if code in _LINE_HYPHENS:
        return "-"
    if code in (0x09, 0x0A, 0x0D):
        return " "
    if code < 0x20:
        return "" if code else "\ufffd"  # the file does not say what it draws
    if 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code < 0xFDF0 or code > 0x10FFFF:
        return ""
    return " " if chr(code).isspace() else chr(code)


def _weight_and_pitch(content: Any, index: int) -> tuple[bool, bool]:
    """Whether the font of a character is bold, and whether all its characters are of one width."""
    import pypdfium2.raw as pdfium

    flags = ctypes.c_int()
    buffer = ctypes.create_string_buffer(128)
    pdfium.FPDFText_GetFontInfo(content, index, buffer, len(buffer), ctypes.byref(flags))
    name = buffer.value.decode("utf-8", "replace").lower()
    bold = any(part in name for part in _BOLD_NAMES) or bool(flags.value & _FORCED_BOLD)
    mono = bool(flags.value & _FIXED_PITCH) or any(part in name for part in _MONO_NAMES)
    return bold or pdfium.FPDFText_GetFontWeight(content, index) >= _BOLD_WEIGHT, mono


def drawn_lines(page: Any, sheet: Sheet, most: int = 4_000) -> Iterator[tuple[float, float, float, float]]:
    """Displayed boxes of the first shapes of a page: rules, borders of cells, drawn bullets."""
    import pypdfium2.raw as pdfium

    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    targets = [ctypes.byref(value) for value in (left, bottom, right, top)]
    segments = 0
    for index in range(min(pdfium.FPDFPage_CountObjects(page), most)):
        shape = pdfium.FPDFPage_GetObject(page, index)
        if pdfium.FPDFPageObj_GetType(shape) != pdfium.FPDF_PAGEOBJ_PATH:
            continue
        count = pdfium.FPDFPath_CountSegments(shape)
        if count > _OF_A_BOX and segments + count <= _MOST_SEGMENTS:
            segments += count
            lines = _straight_lines(shape, count)
            if lines:
                yield from (sheet.box(*line) for line in lines)
                continue
        if pdfium.FPDFPageObj_GetBounds(shape, *targets):
            box = sheet.box(left.value, bottom.value, right.value, top.value)
            if all(math.isfinite(value) for value in box):
                yield box


_OF_A_BOX = 5
_MOST_SEGMENTS = 20_000


def _straight_lines(shape: Any, count: int) -> list[tuple[float, float, float, float]]:
    """The lines of a path that run along the page's axes, each as a flat box; none if the path has others or curves."""
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    x, y = ctypes.c_float(), ctypes.c_float()
    pdfium.FPDFPageObj_GetMatrix(shape, ctypes.byref(matrix))
    lines: list[tuple[float, float, float, float]] = []
    before = (0.0, 0.0)
    for index in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(shape, index)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_BEZIERTO or not pdfium.FPDFPathSegment_GetPoint(segment, x, y):
            return []
        here = (matrix.a * x.value + matrix.c * y.value + matrix.e, matrix.b * x.value + matrix.d * y.value + matrix.f)
        if not (math.isfinite(here[0]) and math.isfinite(here[1])):
            return []
        if kind == pdfium.FPDF_SEGMENT_LINETO:
            if min(abs(here[0] - before[0]), abs(here[1] - before[1])) > 1:
                return []
            (x0, x1), (y0, y1) = sorted((before[0], here[0])), sorted((before[1], here[1]))
            lines.append((x0, y0, x1, y1))
        before = here
    return lines
