"""Fuzz the post-processing: python -m tests.fuzz [ENTRY…] [--seconds N].

decoder, nms, sigmoid,  the C extensions built into libFuzzer with ASan and UBSan, started from
pixels                  corpus/; what it learns is kept in a cache folder, `--minimize` brings
                        small inputs that cover as much back into corpus/; finds go to out/
recognise               Python; guided by atheris where that is installed

Needs clang with its run-time libraries (Debian: clang libclang-rt-14-dev) and a shared libpython.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npud-fuzz"
NATIVE = ("decoder", "nms", "sigmoid", "pixels")
ENTRIES = (*NATIVE, "recognise")
KEPT_FILES, KEPT_SIZE = 32, 256
FLAGS = ["-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-ffp-contract=off", "-w"]
FLAGS += ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
FUZZER = ["-max_len=2048", "-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1"]
ROW = "{:<11}{:>12}{:>9}{:>9}{:>10}{:>8}  {}"


def main() -> int:
    """Run the entries one after another; 1 if there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("entries", nargs="*", choices=[[], *ENTRIES], metavar="ENTRY")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--minimize", action="store_true", help="no fuzzing, only corpus/")
    options = parser.parse_args()
    rows, failed = [], False
    with tempfile.TemporaryDirectory(prefix="npud-fuzz-") as folder:
        entries = options.entries or ENTRIES
        program = Path(folder) / "fuzz"
        if any(entry in NATIVE for entry in entries):
            build(program)
        for entry in entries:
            if options.minimize:
                minimize(program, entry)
                continue
            code, output = run(program, entry, options.seconds)
            if code:
                print(output[-6000:])
            failed = failed or bool(code)
            rows.append(summary(entry, options.seconds, code, output))
    if rows:
        print(ROW.format("entry", "executions", "per s", "blocks", "features", "corpus", ""))
    for row in rows:
        print(ROW.format(*row))
    return int(failed)


def build(program: Path) -> None:
    """Compile native/ and the driver into one program; exit with what is missing."""
    clang = os.environ.get("CLANG", "clang")
    if shutil.which(clang) is None:
        sys.exit("fuzz: clang is missing; as root: apt-get install -y clang libclang-rt-14-dev")
    library = Path(sysconfig.get_config_var("LIBDIR"))
    version = sysconfig.get_config_var("LDVERSION")
    command = [clang, *FLAGS, "-Inative", f"-I{sysconfig.get_path('include')}", "-o", str(program)]
    command += [
        "tests/fuzz/libfuzzer_main.c",
        *sorted(glob("native/**/*.c", recursive=True, root_dir=ROOT)),
    ]
    command += [f"-L{library}", f"-Wl,-rpath,{library}", f"-lpython{version}", "-lm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"fuzz: cannot build\n{done.stderr[-3000:]}")


def environment(entry: str) -> dict[str, str]:
    """Python's own leaks are no findings; every object gets its own guarded memory."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return dict(os.environ) | {
        "NPUD_FUZZ_ENTRY": entry,
        "PYTHONPATH": path,
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run(program: Path, entry: str, seconds: int) -> tuple[int, str]:
    """Fuzz one entry; exit code and output."""
    if entry == "recognise":
        command = [sys.executable, "-m", "tests.fuzz.fuzz_recognise", str(seconds)]
    else:
        learnt = CACHE / entry
        learnt.mkdir(parents=True, exist_ok=True)
        (ROOT / "out").mkdir(exist_ok=True)
        command = [str(program), *FUZZER, f"-max_total_time={seconds}", "-artifact_prefix=out/"]
        command += [str(learnt), str(CORPUS / entry)]
    print(f"fuzz: {entry}, {seconds} s", file=sys.stderr)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(entry),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout


def minimize(program: Path, entry: str) -> None:
    """Replace corpus/ENTRY by few small files that cover what the cache covers."""
    if entry not in NATIVE:
        return
    with tempfile.TemporaryDirectory() as folder:
        sources = [str(path) for path in (CACHE / entry, CORPUS / entry) if path.is_dir()]
        command = [str(program), "-merge=1", f"-max_len={KEPT_SIZE}", folder, *sources]
        subprocess.run(command, cwd=ROOT, env=environment(entry), check=True, capture_output=True)
        files = sorted(Path(folder).iterdir(), key=lambda path: (path.stat().st_size, path.name))
        shutil.rmtree(CORPUS / entry, ignore_errors=True)
        (CORPUS / entry).mkdir(parents=True)
        for path in files[:KEPT_FILES]:
            shutil.copy(path, CORPUS / entry / path.name[:16])
    print(f"fuzz: corpus/{entry}: {min(len(files), KEPT_FILES)} files of {len(files)}")


def summary(entry: str, seconds: int, code: int, output: str) -> tuple[str, ...]:
    """One row of the table, out of libFuzzer's (or the fuzzer's own) last words."""
    last = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output) or [("–", "–", "–")]
    executions = re.findall(r"stat::number_of_executed_units: (\d+)", output)
    executions += re.findall(r"Done (\d+) runs", output) + re.findall(r"(\d+) executions", output)
    done = executions[0] if executions else "0"
    return (
        entry,
        done,
        str(int(done) // max(seconds, 1)),
        *last[-1],
        "FAILED" if code else "clean",
    )


if __name__ == "__main__":
    sys.exit(main())
