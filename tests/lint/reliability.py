"""Every test that docs/reliability.md names is there, and every row names at least one."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def is_there(reference):
    """path::name of a test in Python or C (there also listed to be run), or a path alone."""
    path, _, name = reference.partition("::")
    file = ROOT / path
    if not file.is_file():
        return False
    if not name:
        return True
    text = file.read_text()
    if path.endswith(".py"):
        return re.search(rf"^def {name}\(", text, re.MULTILINE) is not None
    return re.search(rf"^static void {name}\(", text, re.MULTILINE) is not None and len(re.findall(rf"\b{name}\b", text)) > 1


def main():
    wrong, named = [], 0
    for number, line in enumerate((ROOT / "docs" / "reliability.md").read_text().splitlines(), 1):
        if not line.startswith("|") or line.startswith("|---") or "shown by" in line:
            continue
        references = re.findall(r"`([^`]+)`", line.rsplit("|", 2)[1])
        named += len(references)
        if not references:
            wrong.append(f"docs/reliability.md:{number}: names no test")
        wrong += [f"docs/reliability.md:{number}: no such test: {one}" for one in references if not is_there(one)]
    assert named > 60, "docs/reliability.md was not understood"
    print("\n".join(wrong or [f"all {named} tests are there"]))
    return 1 if wrong else 0


sys.exit(main())
