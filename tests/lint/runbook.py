"""Every refusal of the migration machine has its entry in the runbook of shunt(7)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def refusals(path, call):
    """The texts of the calls: adjacent string literals joined."""
    text = (ROOT / path).read_text()
    for found in re.finditer(call + r'((?:"(?:[^"\\]|\\.)*"\s*)+)', text):
        yield "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', found[1]))


def entries():
    """The phrases in bold of the section, where an entry begins."""
    text = (ROOT / "docs" / "man" / "shunt.7.scd").read_text()
    section = text[text.index("## What refusals mean"):text.index("## What happened at")]
    heads = [line for line in section.splitlines() if line.startswith("*")]
    return [phrase for line in heads for phrase in re.findall(r"\*([^*]+)\*", line)]


def main():
    phrases = entries()
    assert len(phrases) > 15, "the runbook was not understood"
    wrong = []
    for path, call in (("migration/refusal.c", r"REFUSE\(\s*"), ("migration/commands.c", r"err_set\(err, ERR_STATE,\s*")):
        texts = list(refusals(path, call))
        assert texts, f"{path} was not understood"
        for text in texts:
            plain = text.replace("%%", "%")
            if not any(phrase in plain for phrase in phrases):
                wrong.append(f"{path}: no entry in docs/man/shunt.7.scd for: {text}")
    print("\n".join(wrong or ["every refusal has its entry"]))
    return 1 if wrong else 0


sys.exit(main())
