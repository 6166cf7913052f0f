"""Host names of a router are encoded as a complete implementation of IDNA 2008 and UTS 46 encodes them."""

from __future__ import annotations

from pip._vendor import idna  # every venv has it

from infra.manifest.host_names import InvalidHost, ascii_form


def test_idna_agrees_with_a_complete_implementation() -> None:
    """Over all letters of the basic plane: what is accepted is encoded in the same way, alone and beside others."""
    accepted = 0
    for code in (*range(0x80, 0x3400), *range(0xA000, 0xAC10), *range(0xF900, 0xFB00), *range(0x10400, 0x10500)):
        for text in (f"a{chr(code)}b.example", f"\u00fc{chr(code)}.example"):
            try:
                ours = ascii_form(text)
            except InvalidHost:
                continue
            try:
                theirs = idna.encode(text, uts46=True, transitional=False).decode()
            except idna.IDNAError:
                continue  # a rule on neighbours or directions: no registry has such a name
            accepted += 1
            assert ours == theirs, ascii(text)
    assert accepted > 10_000
