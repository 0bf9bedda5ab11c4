"""Start a Dask cluster as Slurm jobs, and count on it: `python slurm.py 20 count trial -s /shared/exports`."""

import subprocess
import sys

from dask_jobqueue import SLURMCluster


def main() -> int:
    """Ask for so many jobs, and run the command while they are there."""
    jobs, *arguments = sys.argv[1:]
    with SLURMCluster() as cluster:
        cluster.scale(jobs=int(jobs))
        command = [sys.executable, "-m", "mockexport", *arguments, "--scheduler", cluster.scheduler_address]
        return subprocess.run([*command, "--timeout", "3600"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
