"""Line coverage of src/ from an lcov file, without the test code in it. See .ci/coverage."""
import os, re, sys

LEAST = 97.0


def test_lines(path):
    """The lines of items under #[cfg(test)]. rustfmt ends one with a brace that is indented like its first line."""
    lines = open(path).read().split("\n")
    ignored, number = set(), 0
    while number < len(lines):
        attribute = re.match(r"( *)#\[cfg\((all\()?test\b", lines[number])
        if attribute:
            indent, first = attribute[1], number
            while lines[number].startswith(indent + "#"):
                number += 1
            if not lines[number].endswith(";"):
                while lines[number] not in (indent + "}", indent + "};"):
                    number += 1
            ignored.update(range(first + 1, number + 2))
        number += 1
    return ignored


def read(lcov):
    """Path below src/ -> line -> whether it ran."""
    files, lines = {}, {}
    for entry in open(lcov):
        kind, _, value = entry.strip().partition(":")
        if kind == "SF":
            path = os.path.relpath(value)
            own = path.startswith("src/") and not re.search(r"(^|[/_])tests\.rs$", path)
            ignored = test_lines(path) if own else set()
            lines = files.setdefault(path, {}) if own else {}
        elif kind == "DA":
            line, count = (int(part) for part in value.split(",")[:2])
            if line not in ignored:
                lines[line] = lines.get(line, False) or count > 0
    return {path: lines for path, lines in files.items() if lines}


files = read(sys.argv[1])
show_lines = os.environ.get("LINES") == "1"
for path, lines in sorted(files.items()):
    ran, share = sum(lines.values()), 100.0 * sum(lines.values()) / len(lines)
    if share < LEAST or (show_lines and share < 100.0):
        print(f"{share:6.1f} %  {ran:4} of {len(lines):4}  {path}")
        if show_lines:
            print("          not run:", *(line for line, ran in sorted(lines.items()) if not ran))
ran, of = (sum(counts) for counts in zip(*((sum(lines.values()), len(lines)) for lines in files.values())))
share = 100.0 * ran / of
print(f"{share:6.2f} %  {ran} of {of} lines of src/ in {len(files)} files")
sys.exit(share < LEAST)
