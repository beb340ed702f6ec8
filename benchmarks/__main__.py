"""``python -m benchmarks [w2 w8 …]``: the workloads of docs/explanation/performance.md, each beside its baseline."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

from benchmarks import baselines, scale_out, workloads
from benchmarks.report import Report
from benchmarks.serving import Server, fresh_database, scratch

ALL = {**workloads.ALL, "w12": scale_out.w12_scale_out}


def main() -> None:
    names = [*ALL, "w10"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"default all: {' '.join(names)}")
    parser.add_argument("--database", default="", help="PostgreSQL address; default a fresh SQLite file for each")
    parser.add_argument("--broker", default=scale_out.BROKER, help="of the Celery workers of W12")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout, progress on stderr")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--flows", type=int, default=10_000, help="size of the repository of W10")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(names)
    if unknown:
        parser.error(f"no workload named {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    keep_bytecode()
    report = Report(quiet=options.json)
    began = time.perf_counter()
    with scratch() as folder:
        run(options, report, folder)
    report.note(f"took {time.perf_counter() - began:.0f} s, load average {os.getloadavg()[0]:.1f}")
    if options.json:
        print(report.json())


def keep_bytecode() -> None:
    """Measure as installed: where Python may not write its caches here, give it a folder elsewhere.

    Compiling everything anew would be most of a start.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir()) / "lanner-bench-pycache"))


def run(options: argparse.Namespace, report: Report, folder: Path) -> None:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    where = "PostgreSQL" if options.database else "SQLite"
    report.note(f"{python}, {os.cpu_count()} processors, {where}, load average {os.getloadavg()[0]:.1f}")
    machine = baselines.measure(folder)
    report.note(
        f"this machine now: commit (FULL) {machine.commit_s * 1e3:.2f} ms alone, {machine.grouped_rows:,.0f} rows/s in "
        f"groups of 50; bare Flask route {machine.hello_s * 1e3:.2f} ms, {machine.hello_rate:,.0f}/s; interpreter "
        f"{machine.interpreter_s * 1e3:.1f} ms bare, {machine.python_s * 1e3:.1f} ms with site; libyaml events "
        f"{machine.yaml_events:,.0f} flows/s"
    )
    with Server(folder) as server:
        server.start()
        workloads.calibrate(server.port)
    chosen = options.workloads or [*ALL, "w10"]
    for name in chosen:
        if name == "w10":
            from benchmarks.git_sync import measure_into

            measure_into(report, folder / "git", options.flows, options.database)
            continue
        (folder / name).mkdir()
        with fresh_database(options.database) as database:
            ALL[name](
                workloads.Bench(
                    report=report,
                    machine=machine,
                    folder=folder / name,
                    database=database,
                    scale=0.4 if options.quick else 1.0,
                    broker=options.broker,
                )
            )


if __name__ == "__main__":
    main()
