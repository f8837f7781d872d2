"""Good files of formats that are text: markup, notebooks, mail and source files; and tokens"
" that mean something there."""

from __future__ import annotations

import json

WRITTEN: dict[str, tuple[bytes, ...]] = {
    "rst": (
        b":orphan:\n\nQuay\n====\n\nThe *north* |crane| of :ref:`it <x>` [#a]_ and `a <http://b>`_, H\\ :sub:`2`.\n\n"
        b".. |crane| replace:: tall crane\n\n.. [#a] A note.\n\n.. note:: Mind\n   it.\n\n"
        b".. code-block:: sh\n   :caption: C\n\n"
        b"   run\n\n* one\n\n  1. two\n\nterm : x\n   What.\n\n====  ====\na     b\n====  ====\n1     2\n====  ====\n\n"
        b".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n   * - c\n     - d\n\n"
        b".. py:function:: f(x)\n\n   :param x: y\n\n"
        b"Sub\n---\n\n.. tab:: T\n\n   In\n   ==\n\n   Text.\n\n.. raw:: html\n\n   <p>Raw</p>\n\n"
        b"-a  All\n\n| l\n| m\n\n>>> 1\n",
    ),
    "adoc": (
        b"= Quay\nAnna Berg\n:crane: Tall {plus}\n\n"
        b"The *north* _{crane}_ footnote:[See link:a[b].] and <<x,y>>, 10^6^.\n\n"
        b"[[x]]\n== Loads\n\n.T\n[source,sh]\n----\nrun <1>\n----\n<1> Runs.\n\nNOTE: Mind.\n\n[TIP]\n"
        b"====\n* a\n** b\n+\nc\n\n"
        b'====\n\n. one\n.. two\n\nt:: d\n\n[cols="1,2a",options="header"]\n|===\n|a |b\n\n2+|c\n'
        b".2+|d |* e\n|f\n|===\n\n"
        b"ifdef::y[]\nz\nendif::[]\n\n++++\n<p>Raw</p>\n++++\n\n____\nq\n____\n",
    ),
    "ipynb": (
        json.dumps(
            {
                "cells": [
                    {"cell_type": "markdown", "source": ["# Loads\n", "Text."], "metadata": {}},
                    {
                        "cell_type": "code",
                        "source": "f()",
                        "outputs": [
                            {"output_type": "stream", "text": ["a\rb\n"]},
                            {
                                "output_type": "execute_result",
                                "data": {
                                    "text/html": "<p>Price</p><table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
                                    "text/plain": "x",
                                },
                            },
                            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m"]},
                        ],
                    },
                    {"cell_type": "raw", "source": "r", "metadata": {"raw_mimetype": "text/html"}},
                ],
                "metadata": {"language_info": {"name": "python"}, "title": "T", "authors": [{"name": "A"}]},
                "nbformat": 4,
            }
        ).encode(),
    ),
    "eml": (
        b"From: =?utf-8?B?QW5uYQ==?= <a@b.example>\nTo: c@d.example\nSubject: Berth\n"
        b"Date: Tue, 03 Mar 2026 10:00:00 +0100\n"
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n"
        b"Content-Type: multipart/alternative; boundary=n\n\n"
        b"--n\nContent-Type: text/plain; charset=utf-8; format=flowed\n\nThe crane \nis free.\n> When?\n\n--n\n"
        b"Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n"
        b"<p>The crane is free.</p><p>When=3F</p>\n\n--n--\n"
        b"--m\nContent-Type: text/markdown\nContent-Disposition: attachment; filename*=utf-8''r%C3%A9.md\n"
        b"Content-Transfer-Encoding: base64\n\nIyBSdWxlcwoKVGV4dC4K\n\n--m\n"
        b"Content-Type: message/rfc822\n\nSubject: Inner\n\nText.\n\n--m--\n",
    ),
    "py": (
        b'"""A module."""\n\nimport x\n\n\n@x.y\nclass A(B):\n    """A class."""\n\n'
        b'    def f(self):\n        """Does."""\n        return 1\n',
    ),
    "js": (b"// a\nimport b from 'c';\n\n/** D. */\nexport class E {\n  f(g) {\n  }\n}\nconst h = (i) => 1;\n",),
}
"""By the suffix of a file."""

_RST = [
    b"* ",
    b"`",
    b"``",
    b"|",
    b"|x|",
    b"_",
    b"__",
    b".. ",
    b"::",
    b"\n\n   ",
    b"=====\n",
    b"-----\n",
    b":ref:`",
    b"[#]_",
    b".. |x| replace:: |x|",
]
_RST += [
    b".. include:: x\n",
    b".. role:: r(raw)\n",
    b":r:`<",
    b".. csv-table::\n\n   ",
    b".. list-table::\n\n   * - ",
    b"+---+\n",
    b"\t",
    b"\\",
]
_RST += [
    b".. raw:: html\n\n   <",
    b"\n.. tab:: x\n\n   a\n   =\n",
    b".. math::\n",
    b".. default-role:: x\n",
    b".. [1] ",
    b"1. ",
    b":a: ",
    b".. unicode:: U+D800",
]
_ADOC = [
    b"= ",
    b"== ",
    b"* ",
    b"** ",
    b". ",
    b"::\n",
    b"----\n",
    b"====\n",
    b"|===\n",
    b"|",
    b"2+|",
    b".9999+|",
    b"a|",
    b"99999*|",
    b"[cols=",
    b"[NOTE]\n",
]
_ADOC += [
    b"{a}",
    b":a: {a}{a}\n",
    b"footnote:[",
    b"link:",
    b"[",
    b"]",
    b"<<",
    b">>",
    b"((",
    b"+++",
    b"`",
    b"*",
    b"_",
    b"ifdef::x[",
    b"include::",
    b"++++\n",
    b"\xee\x80\x800\xee\x80\x81",
]
_EML = [
    b"--m\n",
    b"--n--\n",
    b"\n\n",
    b"Content-Type: ",
    b"multipart/mixed; boundary=m\n",
    b"message/rfc822\n",
    b"charset=",
    b"idna",
    b"=?utf-8?Q?",
    b"?=",
    b"base64",
]
_EML += [
    b"filename*0*=",
    b"name=a.docx",
    b"name=winmail.dat",
    b"application/pkcs7-mime",
    b"multipart/encrypted",
    b"\0",
    b"\xff",
    b"=",
    b"Date: ",
    b"format=flowed",
]
_CODE = [
    b"def f():\n",
    b"class A:\n",
    b"    ",
    b"\t",
    b'"""',
    b"'''",
    b"@x\n",
    b"{",
    b"}\n",
    b"(" * 90,
    b"/*",
    b"*/\n",
    b"\r",
    b"\x0c",
    b"\\\n",
    b"# -*- coding: x -*-\n",
]

MARKS = {
    "rst": _RST,
    "adoc": _ADOC,
    "ipynb": [b'"cell_type": "raw"', b'"source": [', b'"outputs": [{', b"]", b"}", b"\\ud800"],
    "eml": _EML,
    "py": _CODE,
    "js": [*_CODE, b"function f() {\n", b"const a = () =>", b"export default "],
}
"""By the suffix of a file, what means something in it."""
