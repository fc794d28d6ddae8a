"""The table: medians of the rounds, each with its ratio to the first column."""

import datetime
import pathlib
import platform
import re
import statistics
import subprocess

# Phase, figure, title of the row, and whether a ratio to the hand-written handler is meaningful.
ROWS = [
    *((f"login{n}", *row) for n in (1, 16, 64, 512) for row in (
        ("per_second", f"logins/s, {n} client{'s' * (n > 1)}", True),
        ("cpu_ms", f"CPU ms per login, {n}", True),
        ("p50_ms", f"login p50 ms, {n}", True),
        ("p99_ms", f"login p99 ms, {n}", True),
        ("refused_per_second", f"503/s, {n}", False),
    )),
    ("login512", "peak_mib", "peak memory MiB, 512", True),
    ("guarded", "per_second", "GET /users/me, requests/s", True),
    ("guarded", "cpu_us", "GET /users/me, CPU µs", True),
    ("public", "per_second", "GET /, requests/s", True),
    ("public", "cpu_us", "GET /, CPU µs", True),
    ("idle", "p99_ms", "GET / p99 ms at 200/s, idle", True),
    ("busy", "p99_ms", "GET / p99 ms at 200/s, 64 logging in", True),
    ("busy", "times_idle", "… in times of the idle one", False),
    ("storm", "good_per_second", "1,000 that retry at once: logins/s within 2 s", True),
    ("storm", "share_of_64", "… as a share of logins/s at 64", False),
    ("storm", "late", "… logins later than 2 s", False),
    ("storm", "timeouts", "… time-outs (5 s)", False),
    ("storm", "refused_per_second", "… 503/s", False),
    ("storm", "peak_mib", "… peak memory MiB", True),
]


def number(value):
    if value != value:
        return "–"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def medians(rounds):
    """`rounds` maps (contender, phase) to one dictionary of figures per round."""
    middle = {}
    for (name, phase), all_figures in rounds.items():
        for figure in all_figures[0]:
            middle[name, phase, figure] = statistics.median(f[figure] for f in all_figures)
    for name in {name for name, _ in rounds}:
        for target, figure, over, under in (
            ("busy", "times_idle", ("busy", "p99_ms"), ("idle", "p99_ms")),
            ("storm", "share_of_64", ("storm", "good_per_second"), ("login64", "per_second")),
        ):
            top, bottom = middle.get((name, *over)), middle.get((name, *under))
            if top is not None and bottom:
                middle[name, target, figure] = top / bottom
    return middle


def table(names, middle):
    """Cells are `value`, or `value (×ratio to the first column)`."""
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for phase, figure, title, ratio in ROWS:
        values = [middle.get((name, phase, figure)) for name in names]
        # Skips rows with only 0 refusals, and rows of phases that were left out.
        if not any(values):
            continue
        cells = []
        for place, value in enumerate(values):
            if value is None:
                cells.append("")
                continue
            base = values[0]
            told = ratio and place and base and value == value
            cells.append(number(value) + (f" (×{value / base:.2f})" if told else ""))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def odd(rounds):
    """What a reader must know before believing the table."""
    notes = []
    for (name, phase), all_figures in rounds.items():
        wrong = sum(f.get("other", 0) + f.get("errors", 0) for f in all_figures)
        if wrong:
            notes.append(f"{name}, {phase}: {wrong} answers that were neither 200 nor 503, or none at all")
        if not all(f.get("busy_all_along", True) for f in all_figures):
            notes.append(f"{name}, {phase}: the load ended before the probe did")
    return notes


def says(*argv):
    try:
        out = subprocess.run(argv, capture_output=True, text=True)
        return (out.stdout or out.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def machine(root):
    def read(path):
        try:
            return pathlib.Path(path).read_text()
        except OSError:
            return ""

    cpu = read("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.*)", cpu)
    flags = re.search(r"flags\s*:\s*(.*)", cpu)
    simd = [f for f in ("avx2", "avx512f") if flags and f in flags[1].split()]
    memory = re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))
    pages = re.search(r"\[(\w+)\]", read("/sys/kernel/mm/transparent_hugepage/enabled"))
    wrk = re.search(r"wrk \S+", says("wrk", "-v"))
    return [
        f"processor: {model[1] if model else platform.machine()}, {cpu.count('processor' + chr(9))} cores, {' '.join(simd) or 'no AVX2'}",
        f"memory: {int(memory[1]) / 2**20 if memory else 0:.0f} GiB, transparent huge pages: {pages[1] if pages else 'none'}",
        f"kernel: {platform.system()} {platform.release()}",
        f"versions: {says('rustc', '--version')}; Python {platform.python_version()}; "
        f"{wrk[0] if wrk else 'wrk'}; hey {says('dpkg-query', '-W', '-f', '${Version}', 'hey')}; "
        f"commit {says('git', '-C', str(root), 'describe', '--always', '--dirty')}",
        f"date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
    ]
