"""A PDF whose font says of every letter that its meaning is unknown."""


def unmapped(pages):
    """A document; of each page the text, and whether its letters have no meaning."""
    cmap = b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <0000> <FFFF> endcodespacerange"
    cmap += b" 1 beginbfrange <0000> <00FF> [" + b"<FFFD>" * 256 + b"] endbfrange endcmap end"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (7 + 2 * number) for number in range(len(pages))), len(pages)),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /DescendantFonts [4 0 R]"
        b" /ToUnicode 6 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A /DW 600"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        stream(cmap),
    ]
    for number, (text, meaningless) in enumerate(pages):
        shown = b"<%s>" % text.encode("utf-16-be").hex().encode() if meaningless else b"(%s)" % text.encode()
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R"
            b" /Resources << /Font << /F0 3 0 R /F1 5 0 R >> >> >>" % (8 + 2 * number)
        )
        objects.append(stream(b"BT /F%d 10 Tf 50 700 Td %s Tj ET" % (not meaningless, shown)))
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, part in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start))


def stream(data):
    return b"<< /Length %d >>\nstream\n" % len(data) + data + b"\nendstream"
