"""``spark-submit.sh``: one way to start a job on local[*], a standalone cluster, YARN or Kubernetes.

Packs the code into a zip (``--py-files``), adds the pinned jars, the configuration and the interpreter, and becomes pyspark's own
``spark-submit``. Nothing secret goes onto the command line.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra import config, files, paths
from infra.config import ROOT
from infra.errors import ConfigError, FlowlakeError
from infra.jvm import jars, java
from jobs.runtime import package, session

#: Folder that an archive given with --python-env is unpacked to, beside each driver and executor.
ENVIRONMENT = "environment"

EXAMPLES = """examples:
  ./spark-submit.sh meter_stream                                        on this machine, conf/local.yaml
  ./spark-submit.sh sink_lake --master 'local[4]' --conf-file my.yaml
  ./spark-submit.sh meter_stream --master spark://host:7077 --conf-file conf/cluster.yaml --executor-memory 4g
  ./spark-submit.sh meter_stream --master yarn --deploy-mode cluster --python-env environment.tar.gz --conf-file conf/cluster.yaml
  ./spark-submit.sh sink_hot --master k8s://https://host:6443 --deploy-mode cluster --conf spark.kubernetes.container.image=flowlake:1
  ./spark-submit.sh sink_lake --dry-run -- --reset-checkpoint           arguments after -- are the job's own

Any other option is handed to spark-submit as it stands (--num-executors 4, --conf key=value, ...).
Environments, images and secrets: docs/how-to/submit-to-a-cluster.md
"""


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line. ``options`` go to spark-submit, ``arguments`` to the job."""

    job: str
    master: str = ""
    deploy_mode: str = "client"
    conf_file: str = ""
    python_env: str = ""
    dry_run: bool = False
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A program to become: its arguments, and what it gets added to the environment."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def jobs(root: Path = ROOT) -> list[str]:
    """Names of the entry points: the modules directly in ``jobs/``."""
    return sorted(file.stem for file in (root / "jobs").glob("*.py") if not file.stem.startswith("_"))


def parse(argv: Sequence[str]) -> Request:
    """The command line as a :class:`Request`; ``--help`` and a wrong option end the program, as argparse does."""
    ours, own = list(argv), []
    if "--" in ours:
        at = ours.index("--")
        ours, own = ours[:at], ours[at + 1 :]
    parser = argparse.ArgumentParser(
        prog="spark-submit.sh",
        description="Submit a job with its code, jars and configuration.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("job", metavar="JOB", help=f"{', '.join(jobs())}; or the path of a .py file")
    parser.add_argument("--master", default="", help="default: spark.master of the configuration")
    parser.add_argument(
        "--deploy-mode", choices=("client", "cluster"), default="client", help="where the driver runs (default: client, here)"
    )
    parser.add_argument("--conf-file", default="", help="configuration; default: FLOWLAKE_CONF, else conf/local.yaml")
    parser.add_argument(
        "--python-env", default="", metavar="ARCHIVE", help="packed environment (venv-pack, conda-pack) to ship to the workers"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command and stop")
    # The job comes first, so that an unknown option's value is never taken for it.
    if ours and ours[0].startswith("-") and not {"-h", "--help"} & set(ours):
        parser.error("JOB comes first, before any option")
    known, rest = parser.parse_known_args(ours)
    return Request(known.job, known.master, known.deploy_mode, known.conf_file, known.python_env, known.dry_run, tuple(rest), tuple(own))


def command(request: Request) -> Submission:
    """What to run for a request. Checks everything that can be checked here, and writes the zip and the driver's main file.

    Raises
    ------
    ConfigError
        No such job, file or environment; a configuration that is not valid; a combination that Spark does not have.
    StackError
        No JDK, or the jars are missing and cannot be fetched.
    """
    main = _script(request.job)
    conf_file = Path(request.conf_file or os.environ.get("FLOWLAKE_CONF") or ROOT / "conf" / "local.yaml").resolve()
    settings = config.load(conf_file)
    master = request.master or settings.spark.master
    cluster = request.deploy_mode == "cluster"
    if cluster and (session.is_local(master) or master.startswith("spark://")):
        raise ConfigError(f"--deploy-mode cluster: Spark does not run Python drivers on {master} that way", "--deploy-mode client")
    java.find()

    folder = session.submit_folder(settings)
    code = package.build(folder, sources=settings.catalogue.packages)
    main = main or _stub(folder, request.job)
    jar_files = [str(path) for section in session.jar_sections(settings) for path in jars.ensure(section)]
    argv = [str(_spark_home() / "bin" / "spark-submit"), "--master", master, "--deploy-mode", request.deploy_mode]
    options = list(request.options)
    argv += ["--py-files", _with(options, "--py-files", [str(code)])]
    local = session.is_local(master)
    # On this machine jars are loaded in place; elsewhere they travel.
    if local:
        argv += ["--driver-class-path", _with(options, "--driver-class-path", jar_files, os.pathsep)]
    else:
        argv += ["--jars", _with(options, "--jars", jar_files)]
    environment = {"FLOWLAKE_CONF": str(conf_file), "SPARK_HOME": str(_spark_home()), **session.jvm_environment(settings)}
    # Who names the workers' interpreter (another path there than here) is obeyed.
    for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        environment[name] = os.environ.get(name, sys.executable)
    # What the settings call var/ stays that of the project, wherever the zip lies.
    environment["FLOWLAKE_HOME"] = os.environ.get("FLOWLAKE_HOME", str(ROOT))
    environment["PYTHONPATH"] = _python_path(code)
    environment["MALLOC_ARENA_MAX"] = os.environ.get("MALLOC_ARENA_MAX", "2")
    if local:
        environment["SPARK_LOCAL_IP"] = os.environ.get("SPARK_LOCAL_IP", "127.0.0.1")
    if request.python_env:
        argv += ["--archives", _with(options, "--archives", [f"{_archive(request.python_env)}#{ENVIRONMENT}"])]
        environment["PYSPARK_PYTHON"] = f"./{ENVIRONMENT}/bin/python"
    if cluster:
        _listed(conf_file, "--conf-file")
        argv += ["--files", _with(options, "--files", [str(conf_file)]), *_cluster(conf_file, master, request)]
        del environment["PYSPARK_DRIVER_PYTHON"]
    else:
        argv += ["--driver-java-options", _with(options, "--driver-java-options", [session.jvm_options(settings)], " ")]
    if not _given(options, "--driver-memory", "spark.driver.memory"):
        argv += ["--driver-memory", settings.spark.driver_memory]
    if not _given(options, "--name", "spark.app.name"):
        argv += ["--name", f"flowlake-{Path(request.job).stem}"]
    return Submission([*argv, *options, str(main), *request.arguments], environment)


def _script(job: str) -> Path | None:
    """The file of a job given by path; None for one given by name."""
    if job.endswith(".py"):
        if not Path(job).is_file():
            raise ConfigError(f"job {job}: no such file", f"jobs by name: {', '.join(jobs())}")
        return _listed(Path(job), f"job {job}")
    if job not in jobs():
        raise ConfigError(f"no job {job!r}", f"jobs: {', '.join(jobs()) or 'none'}; or the path of a .py file")
    return None


def _stub(folder: Path, job: str) -> Path:
    """The driver's main file: two lines, in a folder where it hides nothing (see :mod:`jobs.runtime.launch`)."""
    path = folder / "main" / f"flowlake_{job}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, f'from jobs.runtime.launch import main\n\nmain("{job}")\n')
    return path


def _python_path(code: Path) -> str:
    """PYTHONPATH of a driver: the zip, and not this folder, so that driver and workers import the very same code.

    ``--py-files`` alone is not enough: the worker that Spark starts beside the driver to set up a stateful operator gets none of them.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([str(code), *(p for p in given if p and Path(p).resolve() != ROOT)])


def _cluster(conf_file: Path, master: str, request: Request) -> list[str]:
    """Options for a driver that runs on the cluster: its configuration and interpreter are shipped, its environment is told."""
    told = {"FLOWLAKE_CONF": conf_file.name}
    options: list[str] = []
    prefix = "spark.yarn.appMasterEnv." if master == "yarn" else "spark.kubernetes.driverEnv."
    if request.python_env:
        python = f"./{ENVIRONMENT}/bin/python"
        told["PYSPARK_PYTHON"] = python
        options += ["--conf", f"spark.pyspark.python={python}", "--conf", f"spark.pyspark.driver.python={python}"]
    for name, value in told.items():
        options += ["--conf", f"{prefix}{name}={value}"]
    return options


def _archive(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"--python-env {name}: no such file", "pack one: venv-pack -o environment.tar.gz")
    return _listed(path, "--python-env")


def _listed(path: Path, origin: str) -> Path:
    """A file that spark-submit is given by its path, made absolute."""
    where = path.resolve()
    paths.check(where, origin, (paths.LIST,), "copy it to another folder")
    return where


def _with(options: list[str], option: str, ours: Sequence[str], separator: str = ",") -> str:
    """Our values of a list-valued option and the submitter's, taken out of ``options``: of an option given twice the last alone counts."""
    values = list(ours)
    at = 0
    while at < len(options):
        if options[at] == option and at + 1 < len(options):
            values.append(options[at + 1])
            del options[at : at + 2]
        elif options[at].startswith(f"{option}="):
            values.append(options.pop(at).partition("=")[2])
        else:
            at += 1
    return separator.join(values)


def _given(options: Sequence[str], option: str, prop: str) -> bool:
    """Whether the submitter set it, as an option or as a property."""
    return any(o == option or o.startswith((f"{option}=", f"{prop}=", f"--conf={prop}=")) for o in options)


def _spark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def shown(what: Submission) -> str:
    """A command as one could type it. It holds no secret: those stay in the environment."""
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in what.environment.items())
    return f"{given} {shlex.join(what.argv)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Become spark-submit; returns only when that is not possible, or with ``--dry-run``."""
    try:
        request = parse(sys.argv[1:] if argv is None else argv)
        what = command(request)
    except FlowlakeError as e:
        print(f"error: {e}" + (f"\n  {e.hint}" if e.hint else ""), file=sys.stderr)
        return e.exit_code
    if request.dry_run:
        print(shown(what))
        return 0
    os.execve(what.argv[0], what.argv, dict(os.environ) | what.environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
