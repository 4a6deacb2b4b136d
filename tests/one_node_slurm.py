"""A real SLURM cluster of one node, on loopback and in a directory of its own: munged, slurmctld and slurmd.

    python -m tests.one_node_slurm -- squeue
    python -m tests.one_node_slurm -- snakemake --profile profiles/slurm --slurm-status-command squeue …

It needs Debian's `slurm-wlm` and `munge` and no configuration of the machine: ports are free ones, the
processes belong to whoever starts it, and all of them end with it. The node says that it has more
processors and memory than there may be, and two graphics cards that are links to /dev/null: SLURM
grants them, each to one job, and hides the other in CUDA_VISIBLE_DEVICES, as it does with real ones.
Jobs of the partition `urgent` preempt those of `gpu`, which are begun again afterwards.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
CPUS, MEMORY_MB, CARDS = 8, 256_000, 2  # of the node, as it tells them
KILL_WAIT = 30  # seconds from SIGTERM to SIGKILL when a job is cancelled or preempted; SLURM's default
START_LIMIT = 60.0  # seconds until the node must be ready

SLURM_CONF = """
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
# Neither control groups nor systemd: works inside containers.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MinJobAge=600
KillWait={kill_wait}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} RealMemory={memory} Gres=gpu:{cards} State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
"""


def find(program: str) -> str | None:
    """Where a program is; daemons are in directories that are not on every user's path."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")


def missing_programs() -> list[str]:
    """Those of SLURM and munge that are not installed."""
    return [program for program in PROGRAMS if find(program) is None]


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def write_configuration(directory: Path) -> Path:
    """`slurm.conf`, `gres.conf`, the key and the directories; the path of the first."""
    controller_port, node_port = free_ports(2)
    for name in ("state", "spool"):
        (directory / name).mkdir()
    for i in range(CARDS):
        (directory / f"card{i}").symlink_to(os.devnull)  # SLURM wants a device
    (directory / "gres.conf").write_text(f"Name=gpu File={directory}/card[0-{CARDS - 1}] Flags=nvidia_gpu_env\n")
    key = directory / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    configuration = directory / "slurm.conf"
    # Snakemake's executor removes SLURM_CONF from the environment of `srun`, which finds it again here.
    (directory / "bin").mkdir()
    (directory / "bin" / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {find("srun")} "$@"\n')
    (directory / "bin" / "srun").chmod(0o755)
    configuration.write_text(
        SLURM_CONF.format(
            directory=directory,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            controller_port=controller_port,
            node_port=node_port,
            cpus=CPUS,
            memory=MEMORY_MB,
            cards=CARDS,
            kill_wait=KILL_WAIT,
        )
    )
    return configuration


def logs(directory: Path) -> str:
    """The last lines of each daemon's log."""
    return "\n".join(
        f"{path.name}: {line}"
        for path in sorted(directory.glob("*.log"))
        for line in path.read_text().splitlines()[-15:]
    )


def wait_until_ready(directory: Path, environment: Mapping[str, str], daemons: list[subprocess.Popen]) -> None:
    """Wait for the node to be idle.

    Raises:
        RuntimeError: a daemon ended, or the node is not ready in time; with their logs.
    """
    end = time.monotonic() + START_LIMIT
    while True:
        command = ["sinfo", "--noheader", "--partition", "gpu", "--format", "%T"]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_LIMIT)
        if told.stdout.strip() == "idle":
            return
        if any(daemon.poll() is not None for daemon in daemons) or time.monotonic() > end:
            raise RuntimeError(f"SLURM did not start ({told.stdout.strip() or told.stderr.strip()})\n{logs(directory)}")
        time.sleep(0.2)


def stop(environment: Mapping[str, str], daemons: list[subprocess.Popen]) -> None:
    """Cancel all jobs, wait for their processes to be gone, and end the daemons, the last started first."""
    user = getpass.getuser()
    with contextlib.suppress(subprocess.SubprocessError, OSError):
        subprocess.run(["scancel", "--user", user], env=environment, capture_output=True, timeout=30)
        end = time.monotonic() + KILL_WAIT + 15
        while time.monotonic() < end:
            left = subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True, text=True, timeout=30)
            if not left.stdout.strip():
                break
            time.sleep(0.5)
    for daemon in reversed(daemons):
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def one_node_slurm() -> Iterator[dict[str, str]]:
    """Run SLURM; gives the environment in which `sbatch` and the others find it.

    Raises:
        RuntimeError: SLURM or munge is not installed, or does not start.
    """
    if missing := missing_programs():
        raise RuntimeError(f"not installed: {', '.join(missing)} (Debian's slurm-wlm and munge)")
    # Not below pytest's directories: the path of a socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="one-node-slurm-"))
    configuration = write_configuration(directory)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment |= {"SLURM_CONF": str(configuration), "PATH": f"{directory}/bin:{os.environ.get('PATH', '')}"}
    munge_files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    munge_options = [f"--{name}={directory}/munge.{name.partition('-')[0]}" for name in munge_files]
    commands = (
        ["munged", "--foreground", "--force", "--num-threads=2", *munge_options],
        ["slurmctld", "-D", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration)],
    )
    daemons: list[subprocess.Popen] = []
    try:
        for program, *options in commands:
            with (directory / f"{program}.out.log").open("wb") as output:
                daemons.append(
                    subprocess.Popen(
                        [str(find(program)), *options],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,  # Ctrl-C must not end them before the jobs
                    )
                )
            time.sleep(0.5)
        wait_until_ready(directory, environment, daemons)
        yield environment
    finally:
        stop(environment, daemons)
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    arguments = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        with one_node_slurm() as environment:
            return subprocess.run(arguments, env=environment).returncode
    except (RuntimeError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
